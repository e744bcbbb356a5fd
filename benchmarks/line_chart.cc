#include "gyre/benchmarks/line_chart.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_format.h"

namespace gyre::benchmarks {
namespace {

// In the units of the viewBox.
constexpr double kWidth = 480, kHeight = 280;
constexpr double kLeft = 52, kRight = 14, kTop = 14, kBottom = 44;
constexpr double kDodge = 6;  // between series at the same category

// 1, 2 or 5 times a power of ten, so that about `parts` of it make `range`.
double nice_step(double range, int parts) {
  const double rough = range / parts;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1, 2, 5}) {
    if (factor * power >= rough * 0.999) return factor * power;
  }
  return 10 * power;
}

// The part of a chart that turns values into places.
class Axes {
 public:
  explicit Axes(const LineChart& chart) : base_(chart.base), categories_(chart.categories.size()) {
    double most_median = base_, most = base_;
    for (const ChartSeries& series : chart.series) {
      for (const ChartSeries::Point& point : series.points) {
        most_median = std::max(most_median, point.value);
        most = std::max(most, point.most);
      }
    }
    // One outlier must not press everything else to the floor: what is beyond is cut.
    const double room = (most_median - base_) * 1.5;
    double range = std::min(most - base_, room);
    for (const double value : chart.reference.values)
      range = std::max(range, std::min(value - base_, room));
    flat_ = range <= 0;
    if (flat_) range = base_ > 0 ? base_ : 1;
    step_ = nice_step(range, 4);
    top_ = base_ + std::ceil(range / step_ - 1e-9) * step_;
  }

  double x(size_t category) const {
    return kLeft + (kWidth - kLeft - kRight) * (static_cast<double>(category) + 0.5) /
                       static_cast<double>(categories_);
  }
  double y(double value) const {
    return kTop + (kHeight - kTop - kBottom) * (top_ - value) / (top_ - base_);
  }
  double base() const { return base_; }
  double step() const { return step_; }
  // Nothing rises above the base.
  bool flat() const { return flat_; }
  double top() const { return top_; }

 private:
  const double base_;
  const size_t categories_;
  double step_ = 1, top_ = 1;
  bool flat_ = false;
};

std::string grid(const LineChart& chart, const Axes& axes) {
  std::string svg;
  for (double value = axes.base(); value <= axes.top() + axes.step() / 2; value += axes.step()) {
    const double y = axes.y(value);
    svg += absl::StrFormat(
        "<line class=\"%s\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
        "<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
        value == axes.base() ? "axis" : "grid", kLeft, kWidth - kRight, y, y, kLeft - 7, y + 4,
        short_number(value));
  }
  for (size_t i = 0; i < chart.categories.size(); ++i) {
    svg += absl::StrFormat(
        "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", axes.x(i),
        kHeight - kBottom + 18, html_escape(chart.categories[i]));
  }
  svg += absl::StrFormat(
      "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%s</text>\n",
      (kLeft + kWidth - kRight) / 2, kHeight - 8, html_escape(chart.category_title));
  return svg;
}

std::string marker(double x, double y, const ChartSeries& series, bool hollow) {
  const std::string style =
      absl::StrFormat("class=\"mark\" style=\"stroke:var(--series-%d);fill:%s\"", series.colour,
                      hollow ? "var(--card)" : absl::StrFormat("var(--series-%d)", series.colour));
  switch (series.stroke) {
    case 0:
      return absl::StrFormat("<circle %s cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"/>", style, x, y);
    case 1:
      return absl::StrFormat("<rect %s x=\"%.1f\" y=\"%.1f\" width=\"8\" height=\"8\"/>", style,
                             x - 4, y - 4);
  }
  return absl::StrFormat("<path %s d=\"M%.1f %.1fl5 9h-10z\"/>", style, x, y - 5);
}

std::string line_style(const ChartSeries& series) {
  const char* dashes[] = {"none", "6 4", "2 3"};
  return absl::StrFormat("class=\"line\" style=\"stroke:var(--series-%d);stroke-dasharray:%s\"",
                         series.colour, dashes[std::clamp(series.stroke, 0, 2)]);
}

std::string draw(const ChartSeries& series, double offset, const LineChart& chart,
                 const Axes& axes) {
  std::string whiskers, path, marks;
  for (const ChartSeries::Point& point : series.points) {
    const double x = axes.x(point.category) + offset, y = axes.y(point.value);
    path += absl::StrFormat("%s%.1f %.1f", path.empty() ? "M" : "L", x, y);
    whiskers += absl::StrFormat("M%.1f %.1fV%.1f", x, axes.y(point.least), axes.y(point.most));
    marks += absl::StrFormat(
        "<g><title>%s, %s %s: %s %s (%s to %s)</title>%s</g>\n", html_escape(series.name),
        html_escape(chart.categories[point.category]), html_escape(chart.category_title),
        short_number(point.value), html_escape(chart.unit), short_number(point.least),
        short_number(point.most), marker(x, y, series, point.hollow));
  }
  return absl::StrFormat(
      "<path class=\"whisker\" style=\"stroke:var(--series-%d)\" d=\"%s\"/>\n"
      "<path %s d=\"%s\"/>\n%s",
      series.colour, whiskers, line_style(series), path, marks);
}

std::string draw_reference(const LineChart& chart, const Axes& axes) {
  const std::vector<double>& values = chart.reference.values;
  if (values.size() < 2) return "";
  std::string path;
  for (size_t i = 0; i < values.size(); ++i)
    path += absl::StrFormat("%s%.1f %.1f", i == 0 ? "M" : "L", axes.x(i), axes.y(values[i]));
  return absl::StrFormat("<path class=\"reference\" d=\"%s\"/>\n", path);
}

// Outside of the clipped part, where the reference line leaves it or ends.
std::string reference_label(const LineChart& chart, const Axes& axes) {
  const std::vector<double>& values = chart.reference.values;
  if (values.size() < 2) return "";
  size_t last = 0;
  while (last + 1 < values.size() && values[last + 1] <= axes.top()) ++last;
  double x = axes.x(last), y = axes.y(values[last]);
  if (last + 1 < values.size()) {
    const double share = (axes.top() - values[last]) / (values[last + 1] - values[last]);
    x += share * (axes.x(last + 1) - axes.x(last));
    y = axes.y(axes.top());
  }
  return absl::StrFormat(
      "<text class=\"tick\" text-anchor=\"end\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", x - 8, y + 6,
      html_escape(chart.reference.label));
}

}  // namespace

std::string to_svg(const LineChart& chart) {
  const Axes axes(chart);
  if (axes.flat()) {
    return absl::StrFormat(
        "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\"><text class=\"tick\" "
        "text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">%s everywhere</text></svg>\n",
        kWidth, kHeight, html_escape(chart.title), kWidth / 2, kHeight / 2,
        short_number(chart.base));
  }
  const std::string clip = "clip-" + std::to_string(std::hash<std::string>()(chart.title));
  std::string svg = absl::StrFormat(
      "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n"
      "<clipPath id=\"%s\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
      "height=\"%.1f\"/></clipPath>\n",
      kWidth, kHeight, html_escape(chart.title), clip, kLeft, kTop - 6, kWidth - kLeft - kRight,
      kHeight - kTop - kBottom + 12);
  svg += grid(chart, axes);
  svg += absl::StrFormat("<g clip-path=\"url(#%s)\">\n", clip) + draw_reference(chart, axes);
  const double middle = static_cast<double>(chart.series.size() - 1) / 2;
  for (size_t i = 0; i < chart.series.size(); ++i)
    svg += draw(chart.series[i], kDodge * (static_cast<double>(i) - middle), chart, axes);
  return svg + "</g>\n" + reference_label(chart, axes) + "</svg>\n";
}

std::string to_svg_key(const ChartSeries& series) {
  return absl::StrFormat(
      "<svg class=\"key\" viewBox=\"0 0 40 14\" width=\"40\" height=\"14\">"
      "<path %s d=\"M2 7H38\"/>%s</svg>",
      line_style(series), marker(20, 7, series, false));
}

std::string short_number(double value) {
  const double size = std::abs(value);
  if (size >= 1e6) return absl::StrFormat("%.3gM", value / 1e6);
  if (size >= 1e4) return absl::StrFormat("%.3gk", value / 1e3);
  if (size >= 100) return absl::StrFormat("%.0f", value);
  if (size > 0 && size < 1e-4) return absl::StrFormat("%.1e", value);
  return absl::StrFormat("%.3g", size < 1e-12 ? 0 : value);
}

std::string html_escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

}  // namespace gyre::benchmarks
