// The maintenance's SQL, on a connection of its own.
#pragma once

#include <string>

#include "maintenance.h"
#include "pg_connection.h"

namespace topkd {

class PgMaintainer final : public Maintainer {
  public:
    PgMaintainer(std::string conninfo, std::string counter)
        : counter_(std::move(counter)), connection_(std::move(conninfo), "topkd maintenance") {}

    tl::expected<void, SinkError> seal() override;
    void cancel() override { connection_.cancel(); }
    void abort() override { connection_.abort(); }

  private:
    std::string counter_;
    PgConnection connection_;
};

}  // namespace topkd
