#ifndef GYRE_THREADING_PROMETHEUS_H_
#define GYRE_THREADING_PROMETHEUS_H_

#include <chrono>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gyre/loop/duration_histogram.h"
#include "gyre/threading/loop_pool.h"

namespace gyre {

// Writes metrics as a page that Prometheus scrapes: its text exposition format, version 0.0.4.
//
//     PrometheusText page;
//     page.add(*pool);                      // what its loops have done
//     add_metrics(page, server);            // net/server_metrics.h
//     page.gauge("app_users", "Users that are logged in.", {}, users);
//     answer(PrometheusText::kContentType, page.to_string());
//
// What is given for one name comes out together, under one HELP and one TYPE line, those of the
// first call. It is the caller's to give no name twice with the same labels, and to follow the
// rules for names: [a-zA-Z_:][a-zA-Z0-9_:]*, counters end in _total, units are seconds and bytes.
// docs/observability.md lists gyre's own. One thread at a time; several pages at once are fine.
class PrometheusText {
 public:
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

  using Labels = std::vector<std::pair<std::string, std::string>>;

  // A number as the format wants it: integers and times are exact, and times are in seconds.
  class Value {
   public:
    template <std::integral I>
    Value(I value) : text_(std::to_string(value)) {}
    Value(double value);
    Value(std::chrono::nanoseconds value);
    template <class Rep, class Period>
    Value(std::chrono::duration<Rep, Period> value)
        : Value(std::chrono::duration_cast<std::chrono::nanoseconds>(value)) {}

    const std::string& text() const { return text_; }

   private:
    std::string text_;
  };

  // What only grows; or starts again at zero, with the process.
  void counter(std::string_view name, std::string_view help, const Labels& labels,
               const Value& value) {
    sample("counter", name, help, labels, value);
  }
  // What goes up and down: the value of now.
  void gauge(std::string_view name, std::string_view help, const Labels& labels,
             const Value& value) {
    sample("gauge", name, help, labels, value);
  }
  // Durations in seconds. The buckets are powers of two, 4.096 us to 4.3 s: those DurationHistogram
  // counts exactly.
  void histogram(std::string_view name, std::string_view help, const Labels& labels,
                 const DurationHistogram& histogram);

  // All metrics of a loop, with the label loop="NAME"; of a pool: those of each of its loops. The
  // names have to differ. A loop is read as by IOLoop::metrics(): on any thread, and it need not
  // run.
  void add(const IOLoop& loop);
  void add(const LoopPool& pool);

  // The page: what a scrape is answered with.
  std::string to_string() const;

 private:
  struct Family {
    std::string name;
    std::string header;
    std::string samples;
  };

  Family& family(const char* type, std::string_view name, std::string_view help);
  void sample(const char* type, std::string_view name, std::string_view help, const Labels& labels,
              const Value& value);

  std::vector<Family> families_;  // in the order of their first sample
};

}  // namespace gyre

#endif  // GYRE_THREADING_PROMETHEUS_H_
