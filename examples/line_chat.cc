// A chat: each line goes to everybody, on whichever loop they are.
//
//   bazel run //examples:line_chat -- --port=8888 --threads=2
//   nc 127.0.0.1 8888        in two terminals
//
// A stream is used on its own loop only, so each loop keeps its own guests, and a line is posted to
// every loop once: the one hop between threads. All guests of all loops share one copy of the text.

#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "gyre/examples/server_program.h"
#include "gyre/loop/io_loop.h"
#include "gyre/net/io_stream.h"

namespace {

using Guests = std::unordered_set<gyre::IOStream*>;

// The guests of the loop that runs in this thread: nobody else ever sees them.
thread_local Guests g_guests;

// The loops that have had a guest.
class Rooms {
 public:
  void join(gyre::IOLoop& loop) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const gyre::IOLoop* known : loops_) {
      if (known == &loop) return;
    }
    loops_.push_back(&loop);
  }

  void say(std::string line) {
    const auto text = std::make_shared<const std::string>(std::move(line));
    std::lock_guard<std::mutex> lock(mutex_);
    for (gyre::IOLoop* loop : loops_) {
      loop->add_callback([text] {
        // A guest who does not read is closed by write(), once max_write_buffer_size waits for him.
        for (gyre::IOStream* guest : Guests(g_guests)) {
          if (g_guests.count(guest) > 0) guest->write(*text);
        }
      });
    }
  }

 private:
  std::mutex mutex_;
  std::vector<gyre::IOLoop*> loops_;
};

Rooms g_rooms;

gyre::Task<void> chat(std::shared_ptr<gyre::IOStream> stream) {
  stream->write("your name? ");
  absl::StatusOr<std::string> name = co_await stream->read_until("\n", 64);
  if (!name.ok()) co_return;
  name->pop_back();

  g_guests.insert(stream.get());
  g_rooms.join(stream->loop());
  g_rooms.say("* " + *name + " is here\n");
  for (;;) {
    const absl::StatusOr<std::string> line = co_await stream->read_until("\n", 4096);
    if (!line.ok()) break;  // gone, or a line without end
    g_rooms.say(*name + ": " + *line);
  }
  g_guests.erase(stream.get());
  g_rooms.say("* " + *name + " left\n");
}

}  // namespace

int main(int argc, char** argv) {
  return gyre::examples::run_server(argc, argv,
                                    "A chat: what one connection says in a line, all others hear.",
                                    [](std::shared_ptr<gyre::IOStream> stream) {
                                      gyre::IOLoop& loop = stream->loop();
                                      loop.spawn_callback(chat, std::move(stream));
                                    });
}
