-- For wrk: sends its request so many times at once (wrk -s pipeline.lua URL -- DEPTH; 16).
function init(arguments)
  local one = wrk.format()
  all = one:rep(tonumber(arguments[1]) or 16)
end

function request()
  return all
end
