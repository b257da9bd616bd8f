// The maintenance's SQL, on a connection of its own. That the extension fits was seen when the ingest started.
#pragma once

#include <string>

#include "maintenance.h"
#include "pg_connection.h"

namespace topkd {

class PgMaintainer final : public Maintainer {
  public:
    PgMaintainer(std::string conninfo, std::string counter)
        : counter_(std::move(counter)), connection_(std::move(conninfo), "topkd maintenance") {}

    tl::expected<bool, SinkError> step(MaintenancePart part) override;
    void cancel() override { connection_.cancel(); }
    void abort() override { connection_.abort(); }

  private:
    std::string counter_;
    PgConnection connection_;
};

}  // namespace topkd
