#ifndef GYRE_LOOP_CXX20_H_
#define GYRE_LOOP_CXX20_H_

// Included by others before all else, so that this is what an older standard's compiler says first,
// and not what is missing in some header. (g++ 10 has C++20 as 201709.)
#if __cplusplus < 201709L
#error \
    "gyre needs C++20: add `build --cxxopt=-std=c++20 --host_cxxopt=-std=c++20` to your .bazelrc, or -std=c++20 to the flags of the whole build"
#endif

#endif  // GYRE_LOOP_CXX20_H_
