#include "pg_connection.h"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <thread>

namespace topkd {
namespace {

constexpr Oid kByteaOid = 17;

// What bounds the time a dead peer can hold us, unless the connection string says otherwise.
constexpr std::array<std::pair<const char*, const char*>, 7> kDefaults{{{"connect_timeout", "10"},
                                                                        {"keepalives", "1"},
                                                                        {"keepalives_idle", "10"},
                                                                        {"keepalives_interval", "5"},
                                                                        {"keepalives_count", "3"},
                                                                        {"tcp_user_timeout", "30000"},
                                                                        {"client_encoding", "UTF8"}}};

constexpr const char* kConnectHint = "; hint: check --db (host, port, dbname, user, password), that the server runs, and its pg_hba.conf";

constexpr const char* kSession =
    "SET default_transaction_isolation = 'read committed'; SET statement_timeout = '5min'; SET client_min_messages = warning";

std::string one_line(std::string text) {
    while (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    std::replace(text.begin(), text.end(), '\n', ' ');
    std::erase(text, '\t');  // libpq indents what follows a line break
    return text;
}

SinkError not_connected() {
    return {SinkErrorKind::kOutage, "", "not connected"};
}

SinkError refused(std::string message) {
    return {SinkErrorKind::kRefused, "", std::move(message)};
}

}  // namespace

std::string refuse_connection_string(const std::string& text) {
    constexpr const char* kWhy =
        "is no connection string that libpq takes (not shown: it may hold a password); hint: name=value pairs, values with blanks in '…', "
        "or a URI, in which user, password and database are percent-encoded";
    const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(PQconninfoParse(text.c_str(), nullptr), PQconninfoFree);
    if (!options) {
        return kWhy;
    }
    for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
        // A URI with a slash in its password parses, and the password's beginning is the port.
        const std::string_view value = option->val == nullptr ? "" : option->val;
        if (std::string_view(option->keyword) == "port" && value.find_first_not_of("0123456789, ") != std::string_view::npos) {
            return kWhy;
        }
    }
    return "";
}

PgConnection::~PgConnection() {
    replace(nullptr);
}

void PgConnection::replace(PGconn* connection) {
    const std::lock_guard lock(abort_mutex_);
    connection_.reset(connection);
    socket_ = connection == nullptr ? -1 : PQsocket(connection);
    cancel_ = std::shared_ptr<PGcancel>(connection == nullptr ? nullptr : PQgetCancel(connection), PQfreeCancel);
}

void PgConnection::cancel() {
    std::shared_ptr<PGcancel> request;
    {
        const std::lock_guard lock(abort_mutex_);
        request = cancel_;
    }
    if (!request) {
        return;
    }
    // PQcancel connects, without a limit of its own: to a host that went silent that takes as long as TCP likes. The
    // caller is the consumer thread, which must not wait; a request that arrives late fails some later call as an outage.
    std::thread([request = std::move(request)] {
        std::array<char, 256> error{};
        PQcancel(request.get(), error.data(), static_cast<int>(error.size()));  // not logged: the logger may be gone
    }).detach();
}

void PgConnection::abort() {
    const std::lock_guard lock(abort_mutex_);
    if (socket_ >= 0) {
        ::shutdown(socket_, SHUT_RDWR);  // the call in progress sees the connection end
    }
}

bool PgConnection::connected() const {
    return connection_ && PQstatus(connection_.get()) == CONNECTION_OK;
}

std::string PgConnection::database() const {
    return PQdb(connection_.get());
}

tl::expected<void, SinkError> PgConnection::open() {
    replace(nullptr);
    if (const std::string why = refuse_connection_string(conninfo_); !why.empty()) {
        return tl::unexpected(refused("--db " + why));
    }
    const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(PQconninfoParse(conninfo_.c_str(), nullptr), PQconninfoFree);
    if (!options) {
        return tl::unexpected(refused("out of memory"));
    }
    std::vector<const char*> keywords;
    std::vector<const char*> values;
    keywords.push_back("application_name");
    values.push_back(application_name_.c_str());
    for (const auto& [keyword, value] : kDefaults) {
        keywords.push_back(keyword);
        values.push_back(value);
    }
    for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
        if (option->val != nullptr) {  // of a keyword given twice libpq takes the last
            keywords.push_back(option->keyword);
            values.push_back(option->val);
        }
    }
    keywords.push_back(nullptr);
    values.push_back(nullptr);
    replace(PQconnectdbParams(keywords.data(), values.data(), 0));
    if (!connected()) {
        SinkError error{SinkErrorKind::kOutage, "", one_line(PQerrorMessage(connection_.get())) + kConnectHint};
        replace(nullptr);
        return tl::unexpected(std::move(error));
    }
    PQsetNoticeProcessor(
        connection_.get(), [](void*, const char* notice) { spdlog::warn("database: {}", one_line(notice)); }, nullptr);
    const Result session(PQexec(connection_.get(), (std::string(kSession) + ";" + session_).c_str()));
    if (PQresultStatus(session.get()) != PGRES_COMMAND_OK) {
        SinkError error = error_of(session.get());
        replace(nullptr);
        return tl::unexpected(std::move(error));
    }
    return {};
}

SinkError PgConnection::error_of(const PGresult* result) const {
    const auto part = [result](int field) -> std::string {
        const char* text = PQresultErrorField(result, field);
        return text == nullptr ? "" : one_line(text);
    };
    SinkError error;
    error.sqlstate = part(PG_DIAG_SQLSTATE);
    error.primary = part(PG_DIAG_MESSAGE_PRIMARY);
    error.message = error.primary;
    if (const std::string detail = part(PG_DIAG_MESSAGE_DETAIL); !detail.empty()) {
        error.message += " (" + detail + ")";
    }
    error.hint = part(PG_DIAG_MESSAGE_HINT);
    if (!error.hint.empty()) {
        error.message += "; hint: " + error.hint;
    }
    if (error.message.empty()) {
        error.message = one_line(PQerrorMessage(connection_.get()));
    }
    error.kind = connected() ? classify_sqlstate(error.sqlstate) : SinkErrorKind::kOutage;
    // claim raises 55000 for another group and for another cluster; only the latter is cured partition by partition.
    if (error.sqlstate == "55000" && error.hint.find("reset_progress") != std::string::npos) {
        error.kind = SinkErrorKind::kOtherCluster;
    }
    return error;
}

tl::expected<PgConnection::Result, SinkError> PgConnection::query(const char* sql, const std::vector<Parameter>& parameters) {
    if (!connected()) {
        return tl::unexpected(not_connected());
    }
    std::vector<Oid> types;
    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats;
    for (const Parameter& parameter : parameters) {
        types.push_back(parameter.binary ? kByteaOid : 0);
        values.push_back(parameter.text ? parameter.text->data() : nullptr);
        lengths.push_back(parameter.text ? static_cast<int>(parameter.text->size()) : 0);
        formats.push_back(parameter.binary ? 1 : 0);
    }
    Result result(PQexecParams(connection_.get(), sql, static_cast<int>(parameters.size()), types.data(), values.data(), lengths.data(),
                               formats.data(), 0));
    return checked(std::move(result));
}

tl::expected<void, SinkError> PgConnection::prepare(const char* name, const char* sql) {
    if (!connected()) {
        return tl::unexpected(not_connected());
    }
    const auto prepared = checked(Result(PQprepare(connection_.get(), name, sql, 0, nullptr)));
    return prepared ? tl::expected<void, SinkError>() : tl::unexpected(prepared.error());
}

tl::expected<PgConnection::Result, SinkError> PgConnection::execute(const char* name, const std::vector<const char*>& parameters) {
    if (!connected()) {
        return tl::unexpected(not_connected());
    }
    return checked(
        Result(PQexecPrepared(connection_.get(), name, static_cast<int>(parameters.size()), parameters.data(), nullptr, nullptr, 0)));
}

tl::expected<PgConnection::Result, SinkError> PgConnection::checked(Result result) {
    const ExecStatusType status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        SinkError error = error_of(result.get());
        // A server that became read only stays so for this session. And a broken connection's socket is already closed:
        // abort must not shut down whoever has its number now.
        if (!connected() || error.sqlstate == "25006") {
            replace(nullptr);
        }
        return tl::unexpected(std::move(error));
    }
    return result;
}

}  // namespace topkd
