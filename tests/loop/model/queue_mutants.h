#ifndef GYRE_TESTS_LOOP_MODEL_QUEUE_MUTANTS_H_
#define GYRE_TESTS_LOOP_MODEL_QUEUE_MUTANTS_H_

#include <span>

#include "gyre/tests/loop/model/explorer.h"
#include "gyre/tests/loop/model/queue_program.h"

namespace gyre::model {

// A queue that differs from the shipped one in one place; the first does not differ.
struct Mutant {
  const char* name;
  bool equivalent;  // the difference is none
  Result (*explore)(const QueueShape&, const Options&);
};

// Made by make_mutants at build time.
std::span<const Mutant> mutants();

}  // namespace gyre::model

#endif  // GYRE_TESTS_LOOP_MODEL_QUEUE_MUTANTS_H_
