// Go's channel as a contender of the post benchmark, where Go is installed: `producers` goroutines
// send 16 bytes, a function and its argument, over a buffered channel to one that calls them.

#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "gyre/benchmarks/post_contest.h"

namespace gyre::bench {
namespace {

constexpr char kProgram[] = R"go(package main

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

type job struct {
	call     func(uint64)
	argument uint64
}

func round(producers, posts int) time.Duration {
	jobs := make(chan job, 1024)
	var left = producers * posts
	done := make(chan time.Time)
	hit := func(uint64) { left-- }
	go func() {
		for left > 0 {
			j := <-jobs
			j.call(j.argument)
		}
		done <- time.Now()
	}()
	var ready sync.WaitGroup
	begin := make(chan struct{})
	for p := 0; p < producers; p++ {
		ready.Add(1)
		go func() {
			ready.Done()
			<-begin
			for i := 0; i < posts; i++ {
				jobs <- job{hit, uint64(i)}
			}
		}()
	}
	ready.Wait()
	start := time.Now()
	close(begin)
	return (<-done).Sub(start)
}

func main() {
	producers, _ := strconv.Atoi(os.Args[1])
	posts, _ := strconv.Atoi(os.Args[2])
	round(producers, posts)
	elapsed := round(producers, posts)
	fmt.Println(float64(elapsed.Nanoseconds()) / float64(producers*posts))
}
)go";

// What a command prints; nothing if it fails.
std::string output_of(const std::string& command) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  if (pipe == nullptr) return "";
  std::string output;
  std::array<char, 256> part;
  while (std::fgets(part.data(), part.size(), pipe.get()) != nullptr) output += part.data();
  return output;
}

// The program, built at first use in a folder that goes with this object.
class GoProgram {
 public:
  GoProgram() {
    const std::string pattern = std::filesystem::temp_directory_path() / "gyre_go_channel_XXXXXX";
    std::string folder = pattern;
    if (::mkdtemp(folder.data()) == nullptr) return;
    folder_ = folder;
    std::ofstream(folder + "/channel.go") << kProgram;
    // A cache of its own: the user's may be read-only, or not be there.
    output_of("cd '" + folder + "' && GOCACHE='" + folder +
              "/cache' GO111MODULE=off CGO_ENABLED=0 go build -o channel channel.go 2>&1");
  }
  ~GoProgram() {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }
  double run(int producers, int posts) const {
    const std::string printed = output_of("'" + folder_ + "/channel' " + std::to_string(producers) +
                                          " " + std::to_string(posts) + " 2>/dev/null");
    return printed.empty() ? -1 : std::atof(printed.c_str());
  }

 private:
  std::string folder_;
};

}  // namespace

void add_go_posts() {
  if (output_of("command -v go").empty()) return;
  auto program = std::make_shared<std::unique_ptr<GoProgram>>();
  for (const int producers : {1, 2, 4}) {
    add_contender("post/16B/producers:" + std::to_string(producers), "go_channel",
                  [program, producers](benchmark::State&) {
                    if (*program == nullptr) *program = std::make_unique<GoProgram>();
                    return (*program)->run(producers, kPostsPerProducer);
                  });
  }
}

}  // namespace gyre::bench
