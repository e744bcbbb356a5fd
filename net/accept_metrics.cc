#include "gyre/net/accept_metrics.h"

#include <algorithm>

namespace gyre::internal {

void AcceptCounters::add_to(AcceptMetrics& sum) const {
  const auto of = [this](LimitKind limit) { return rejected[static_cast<int>(limit)].get(); };
  sum.accepted += accepted.get();
  sum.rejected_total += of(LimitKind::kTotal);
  sum.rejected_per_loop += of(LimitKind::kLoop);
  sum.rejected_per_source += of(LimitKind::kSource);
  sum.rejected_rate += of(LimitKind::kRate);
  sum.refused += refused.get();
  sum.shed += shed.get();
  sum.transient += transient.get();
  sum.batches += batches.get();
  sum.hand_overs += hand_overs.get();
  sum.largest_batch = std::max(sum.largest_batch, largest_batch.get());
  sum.back_offs += back_offs.get();
  sum.spares_lost += spares_lost.get();
  sum.waits += waits.get();
}

}  // namespace gyre::internal
