#ifndef GYRE_BENCHMARKS_LINE_REPORT_H_
#define GYRE_BENCHMARKS_LINE_REPORT_H_

#include <vector>

#include "gyre/benchmarks/line_recorder.h"

namespace gyre::benchmarks {

// A cache line that two threads touched.
struct SharedLine {
  LineUse uses[2];

  bool is_written() const { return (uses[0].written | uses[1].written) != 0; }
};

std::vector<SharedLine> shared_lines(const std::vector<LineUse>& lines,
                                     const std::vector<LineUse>& others);

// To stdout: who reads and writes which of its bytes, in which functions. These are found by
// addr2line(1), and are addresses in the program's file where there is none.
void print_line(const SharedLine& line);

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_LINE_REPORT_H_
