// Lists from PostgreSQL: one prepared statement an answer, so that list, window and watermark are of one snapshot. Reads only, and works
// on a hot standby; the role needs the privilege 'read'.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "pg_connection.h"
#include "serve/top_list.h"

namespace topkd {

/// What all readers of a process share: an outage is told once, and its end.
class TroubleLog {
  public:
    void tell(const std::string& trouble);
    void tell_end();
    void hush();  ///< what fails from now on fails because the process ends

  private:
    std::mutex mutex_;
    std::string told_;
    bool is_hushed_ = false;
};

class PgListReader final : public ListReader {
  public:
    PgListReader(std::string conninfo, std::chrono::milliseconds query_timeout, const Clock& clock, std::shared_ptr<TroubleLog> log);

    ListResult read(const ListKey& key, int k) override;
    std::optional<Problem> ping() override;
    bool connected() const override { return connection_.connected(); }
    void abort() override { connection_.abort(); }

  private:
    tl::expected<void, SinkError> connect();
    tl::expected<void, SinkError> check_extension();
    tl::expected<TopList, SinkError> query(const ListKey& key, int k);
    Problem told(const SinkError& error);

    PgConnection connection_;
    const Clock& clock_;
    std::shared_ptr<TroubleLog> log_;
};

}  // namespace topkd
