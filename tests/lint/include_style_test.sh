#!/usr/bin/env bash
# Include guards are named after the path; gyre's own headers are included by their whole path.
source tests/lint/lint.sh

folders=(loop threading net testing tests benchmarks examples)

for header in $(files '*.h' "${folders[@]}"); do
  guard=GYRE_$(printf '%s' "${header%.h}" | tr 'a-z/.-' 'A-Z___')_H_
  guards=$(grep -E '^#(ifndef|define) ' "$header" | sed -n 1,2p || true)
  if [[ $guards != "#ifndef $guard"$'\n'"#define $guard" ]]; then
    complain "$header: the include guard is not $guard"
  fi
done

for file in $(files '*.h' "${folders[@]}") $(files '*.cc' "${folders[@]}"); do
  while IFS= read -r included; do
    case $included in
      gyre/*)
        # examples/consumer sees gyre from outside, like everyone.
        [[ -e ${included#gyre/} ]] || complain "$file: there is no $included"
        ;;
      *)
        if [[ -e $included || -e $(dirname "$file")/$included ]]; then
          complain "$file: \"$included\" is one of gyre's headers, so \"gyre/<folder>/<header>\""
        fi
        ;;
    esac
  done < <(sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]*)".*/\1/p' "$file")
done

finish
