#ifndef GYRE_BENCHMARKS_LINE_CHART_H_
#define GYRE_BENCHMARKS_LINE_CHART_H_

#include <cstddef>
#include <string>
#include <vector>

namespace gyre::benchmarks {

// A line over the categories of a chart. The colours are CSS variables of the page: --series-0,
// --series-1, ...; `stroke` tells apart lines of one colour.
struct ChartSeries {
  struct Point {
    size_t category = 0;
    double value = 0, least = 0, most = 0;
    bool hollow = false;
  };

  std::string name;
  int colour = 0;
  int stroke = 0;  // 0: solid with discs, 1: dashed with squares, 2: dotted with triangles
  std::vector<Point> points;
};

// Where a line of proportional growth would go: nothing if empty.
struct ChartReference {
  std::string label;
  std::vector<double> values;  // one for each category
};

struct LineChart {
  std::string title;
  std::string unit;
  std::string category_title;
  std::vector<std::string> categories;
  double base = 0;  // where the axis begins
  std::vector<ChartSeries> series;
  ChartReference reference;
};

// An <svg> element.
std::string to_svg(const LineChart& chart);

// What a legend shows of a series: an <svg> element.
std::string to_svg_key(const ChartSeries& series);

// Short, for an axis or a tile: "1.2M", "145k", "0.05".
std::string short_number(double value);

// Text in HTML or in an attribute.
std::string html_escape(const std::string& text);

}  // namespace gyre::benchmarks

#endif  // GYRE_BENCHMARKS_LINE_CHART_H_
