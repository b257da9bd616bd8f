// Kept plans and result access.
#include "statement.h"

namespace topk {

namespace {

constexpr std::size_t kMaxArguments = 16;

void prepare(Statement& statement, std::initializer_list<Argument> arguments) {
    std::array<Oid, kMaxArguments> types = {};
    std::transform(arguments.begin(), arguments.end(), types.begin(), [](const Argument& argument) { return argument.type; });
    SPIPlanPtr plan = SPI_prepare_cursor(statement.sql, static_cast<int>(arguments.size()), types.data(), statement.cursor_options);
    if (plan == nullptr) elog(ERROR, "could not prepare \"%s\": %s", statement.sql, SPI_result_code_string(SPI_result));
    SPI_keepplan(plan);
    statement.plan = plan;
}

}  // namespace

std::uint64_t run(Statement& statement, std::initializer_list<Argument> arguments, Snapshot snapshot, std::int64_t limit) {
    Assert(arguments.size() <= kMaxArguments);
    if (statement.plan == nullptr) prepare(statement, arguments);
    std::array<Datum, kMaxArguments> values = {};
    std::array<char, kMaxArguments> nulls = {};
    std::size_t count = 0;
    for (const Argument& argument : arguments) {
        values[count] = argument.value;
        nulls[count++] = argument.is_null ? 'n' : ' ';
    }
    const int code = SPI_execute_plan(statement.plan, values.data(), nulls.data(), snapshot == Snapshot::kCaller, limit);
    if (code < 0) elog(ERROR, "could not run \"%s\": %s", statement.sql, SPI_result_code_string(code));
    return SPI_processed;
}

void run_utility(const char* sql) {
    const int code = SPI_execute(sql, false, 0);
    if (code < 0) elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(code));
}

Cell cell(std::uint64_t row, int column) {
    Cell result;
    result.value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &result.is_null);
    return result;
}

char* text_cell(std::uint64_t row, int column) {
    const Cell found = cell(row, column);
    return found.is_null ? nullptr : TextDatumGetCString(found.value);
}

void put_rows(const ReturnSetInfo* result) {
    for (std::uint64_t row = 0; row < SPI_tuptable->numvals; ++row) tuplestore_puttuple(result->setResult, SPI_tuptable->vals[row]);
}

}  // namespace topk
