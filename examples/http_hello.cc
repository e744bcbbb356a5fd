// Greets over HTTP/1: a server to aim a load generator at, for example wrk(1). It keeps
// connections, and answers all requests that came together with one send.
//
//   bazel run -c opt //examples:http_hello -- --port=8080
//   curl http://127.0.0.1:8080/

#include <ctime>
#include <string>
#include <string_view>

#include "gyre/examples/http_request.h"
#include "gyre/examples/server_program.h"
#include "gyre/net/io_stream.h"

namespace {

using gyre::examples::HttpRequestReader;

// A peer that does not read is not read from either, once so much waits for it.
constexpr size_t kHighWater = 256 * 1024;

constexpr std::string_view kGreeting = "Hello, World!";

std::string date_line(std::time_t now) {
  std::tm broken_down{};
  ::gmtime_r(&now, &broken_down);
  char text[64];
  return {text,
          std::strftime(text, sizeof(text), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &broken_down)};
}

// What is answered, put together once a second: only the date changes.
class Answers {
 public:
  // This thread's, for now.
  static const Answers& now() {
    static thread_local Answers answers;
    const std::time_t second = std::time(nullptr);
    if (second != answers.second_) answers.prepare(second);
    return answers;
  }

  std::string_view to(const HttpRequestReader& request) const {
    const std::string& greeting = request.keep_alive() ? greeting_ : last_greeting_;
    switch (request.method()) {
      case HttpRequestReader::Method::kGet:
        return greeting;
      case HttpRequestReader::Method::kHead:
        return std::string_view(greeting).substr(0, greeting.size() - kGreeting.size());
      case HttpRequestReader::Method::kOther:
        break;
    }
    return request.keep_alive() ? not_allowed_ : last_not_allowed_;
  }
  std::string_view to_bad_request() const { return bad_request_; }

 private:
  void prepare(std::time_t second) {
    second_ = second;
    const std::string date = date_line(second), close = "Connection: close\r\n";
    const std::string type = "Content-Type: text/plain\r\nContent-Length: ";
    const std::string ok = "HTTP/1.1 200 OK\r\n" + date + type + std::to_string(kGreeting.size()) +
                           "\r\n",
                      end = "\r\n" + std::string(kGreeting);
    greeting_ = ok + end;
    last_greeting_ = ok + close + end;
    const std::string no =
        "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n" + date + "Content-Length: 0\r\n";
    not_allowed_ = no + "\r\n";
    last_not_allowed_ = no + close + "\r\n";
    bad_request_ = "HTTP/1.1 400 Bad Request\r\n" + date + close + type + "12\r\n\r\nBad request\n";
  }

  std::time_t second_ = -1;
  std::string greeting_, last_greeting_, not_allowed_, last_not_allowed_, bad_request_;
};

// What is written in a read callback is collected by the stream and sent when it returns.
void answer(gyre::IOStream& stream, HttpRequestReader& request, std::string_view bytes) {
  const Answers& answers = Answers::now();
  for (;;) {
    switch (request.read(bytes)) {
      case HttpRequestReader::Outcome::kMore:
        if (stream.write_buffer_size() > kHighWater) stream.pause_reading();
        return;
      case HttpRequestReader::Outcome::kRequest:
        stream.write(answers.to(request));
        if (request.keep_alive()) continue;
        return stream.close_when_flushed();
      case HttpRequestReader::Outcome::kBad:
        stream.write(answers.to_bad_request());
        return stream.close_when_flushed();
    }
  }
}

void serve(std::shared_ptr<gyre::IOStream> connection) {
  // The callbacks belong to the stream, so they do not keep it.
  gyre::IOStream* stream = connection.get();
  stream->set_drain_callback([stream] { stream->resume_reading(); });
  stream
      ->set_read_callback([stream, request = HttpRequestReader()](std::string_view bytes) mutable {
        answer(*stream, request, bytes);
      })
      .IgnoreError();  // a new stream is open, and nobody else reads
}

}  // namespace

int main(int argc, char** argv) {
  return gyre::examples::run_server(
      argc, argv, "Answers every HTTP GET with \"Hello, World!\", one loop per thread.", serve);
}
