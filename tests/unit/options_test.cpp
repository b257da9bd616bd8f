#include "options.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>

#include "kafka_properties.h"
#include "pg_connection.h"

namespace topkd::test {
namespace {

using std::chrono::milliseconds;

TEST(Options, DurationsAndSizes) {
    EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
    EXPECT_EQ(parse_duration("2 min"), milliseconds(120'000));
    EXPECT_EQ(parse_duration("0"), milliseconds(0));
    EXPECT_EQ(parse_size("512MiB"), 512u << 20);
    EXPECT_EQ(parse_size("4096"), 4096u);
    for (const char* bad : {"", "5", "ms", "-1s", "1.5s", "1us", "99999999999999999999s", "9999999999999d", "1 s s"}) {
        EXPECT_FALSE(parse_duration(bad)) << bad;
    }
    for (const char* bad : {"", "MiB", "-1", "1XB", "99999999999GiB"}) EXPECT_FALSE(parse_size(bad)) << bad;
    EXPECT_EQ(format_duration(milliseconds(90'000)), "90s");
    EXPECT_EQ(format_size(512u << 20), "512MiB");
}

TEST(Options, SecretsAreMasked) {
    const std::pair<const char*, const char*> cases[] = {
        {"host=h password=geheim user=u", "host=h password=*** user=u"},
        {"password = 'ge he\\'im' user=u", "password =*** user=u"},
        {"postgresql://u:ge:heim@h:5/d", "postgresql://u:***@h:5/d"},
        {"postgresql://u@h/d?password=geheim&sslmode=require", "postgresql://u@h/d?password=***&sslmode=require"},
        {"sasl.password=ge heim&x", "sasl.password=***"},
        {"sasl.username=u", "sasl.username=u"},
        {"ssl.key.password=x", "ssl.key.password=***"},
        {"ssl.key.location=/k.pem", "ssl.key.location=/k.pem"},
        {"ssl.key.pem=-----BEGIN x", "ssl.key.pem=***"},
        {"sslpassword=x host=h", "sslpassword=*** host=h"},
        {"host=h", "host=h"},
        {"", ""},
    };
    for (const auto& [text, masked] : cases) EXPECT_EQ(mask_secrets(text), masked);
}

class Precedence : public testing::Test {
  protected:
    Precedence() {
        CLI::App* command = app.add_subcommand("run");
        command->add_option("--topic", topic)->capture_default_str();
        command->add_option("--kafka", kafka);
        command->add_flag("--take-over", take_over);
        add_duration(*command, "--flush-interval", interval, "");
        app.add_subcommand("other")->add_option("--elsewhere", elsewhere);
        prepare_subcommands(app);
    }

    std::string parse(std::vector<std::string> arguments, const std::map<std::string, std::string>& variables = {}) {
        const auto merged = merged_arguments(app, arguments, [&](const std::string& name) {
            const auto found = variables.find(name);
            return found == variables.end() ? std::nullopt : std::optional(found->second);
        });
        if (!merged) return merged.error();
        try {
            app.parse(std::vector<std::string>(merged->rbegin(), merged->rend()));
        } catch (const CLI::ParseError& error) {
            return error.what();
        }
        return "";
    }

    std::string file(const std::string& content) {
        const std::string path = testing::TempDir() + "topkd_options_test.toml";
        std::ofstream(path) << content;
        return path;
    }

    CLI::App app;
    std::string topic = "default";
    std::string elsewhere;
    std::vector<std::string> kafka;
    bool take_over = false;
    milliseconds interval{500};
};

TEST_F(Precedence, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
    const std::string path = file("topic = \"file\"\nflush-interval = \"1s\"\nelsewhere = \"x\"\n[run]\ntake-over = true\n");
    EXPECT_EQ(parse({"run", "--config", path}), "");
    EXPECT_EQ(topic, "file");
    EXPECT_EQ(interval, milliseconds(1000));
    EXPECT_TRUE(take_over);
    EXPECT_EQ(parse({"run", "--config", path}, {{"TOPKD_TOPIC", "environment"}}), "");
    EXPECT_EQ(topic, "environment");
    EXPECT_EQ(parse({"run", "--topic=flag", "--config=" + path}, {{"TOPKD_TOPIC", "environment"}}), "");
    EXPECT_EQ(topic, "flag");
}

TEST_F(Precedence, RepeatableOptionsAccumulate) {
    const std::string path = file("kafka = [\"a=1\", \"b=2\"]\n");
    EXPECT_EQ(parse({"run", "--kafka", "d=4"}, {{"TOPKD_KAFKA", "c=3\n"}, {"TOPKD_CONFIG", path}}), "");
    EXPECT_EQ(kafka, (std::vector<std::string>{"a=1", "b=2", "c=3", "d=4"}));
}

TEST_F(Precedence, MistakesAreNamed) {
    EXPECT_NE(parse({"run", "--config", file("tpoic = \"x\"\n")}).find("tpoic"), std::string::npos);
    EXPECT_NE(parse({"run", "--config", "/does/not/exist"}).find("/does/not/exist"), std::string::npos);
    EXPECT_NE(parse({"run", "--flush-interval", "soon"}).find("not a duration"), std::string::npos);
    EXPECT_NE(parse({"run"}, {{"TOPKD_FLUSH_INTERVAL", "soon"}}).find("not a duration"), std::string::npos);
}

TEST(ConnectionString, IsCheckedWithoutBeingShown) {
    for (const char* good :
         {"", "host=db port=5432,5433 password='my hunter2'", "postgres://u:hun%2Fter2@h:5432,i:5433/x", "postgresql:///x"}) {
        EXPECT_EQ(refuse_connection_string(good), "") << good;
    }
    for (const char* bad : {"host=db password=my hunter2", "postgres://u:hun/ter2@h/x", "hunter2", "postgres://[hunter2", "hunter2=x"}) {
        const std::string why = refuse_connection_string(bad);
        EXPECT_NE(why.find("hint:"), std::string::npos) << bad;
        EXPECT_EQ(why.find("hun"), std::string::npos) << bad;
    }
}

TEST(KafkaProperties, WhatTheProtocolDependsOnCannotBeSet) {
    for (const char* name : {"enable.auto.commit", "auto.offset.reset", "enable.partition.eof", "isolation.level",
                             "partition.assignment.strategy", "group.id", "queued.max.messages.kbytes"}) {
        EXPECT_TRUE(refuse_kafka_property(std::string(name) + "=x")) << name;
    }
    EXPECT_TRUE(refuse_kafka_property("no equals sign"));
    EXPECT_FALSE(refuse_kafka_property("session.timeout.ms=6000"));
    EXPECT_FALSE(refuse_kafka_property("sasl.password=a=b"));
}

TEST(KafkaProperties, QueuesStayWithinTheirShare) {
    for (const std::uint64_t share : {8ull << 20, 200ull << 20, 4ull << 30}) {
        for (const int partitions : {1, 3, 64}) {
            const QueueLimits limits = queue_limits(share, partitions);
            const std::uint64_t under_way = static_cast<std::uint64_t>(partitions) * limits.fetch * 20;  // small messages, well compressed
            const std::uint64_t bound = limits.kbytes * 1000 + limits.messages * 512 + under_way;
            const bool at_least = limits.fetch == 256 << 10;  // a batch of every partition must fit, whatever the share
            EXPECT_LE(bound, share + (at_least ? under_way : 0)) << share << " " << partitions;
        }
    }
}

TEST(KafkaProperties, AsManyPartitionsFitAsTheirFetchesDo) {
    constexpr std::uint64_t small = 60;  // bytes of a record, which are a few when compressed, and many in the queue
    for (const std::uint64_t share : {25ull << 20, 200ull << 20, 4ull << 30}) {
        const auto held = [share](std::uint64_t partitions) {
            const QueueLimits limits = queue_limits(share, static_cast<int>(partitions));
            return limits.messages * (512 + small) + partitions * limits.fetch * 22;
        };
        const std::uint64_t partitions = partitions_within(share);
        ASSERT_GT(partitions, 0u) << share;
        EXPECT_LE(held(partitions), share);
        EXPECT_GT(held(partitions * 3 / 2 + 1), share);
    }
    EXPECT_EQ(partitions_within(200 << 10), 0u);
}

TEST(KafkaProperties, AFetchHoldsABatchOfEveryPartition) {
    for (const int partitions : {1, 3, 64, 1000}) EXPECT_GE(queue_limits(1 << 20, partitions).fetch, 256u << 10) << partitions;
    EXPECT_EQ(queue_limits(8ull << 30, 1).fetch, 1'048'588u) << "and no more than the largest message";
    EXPECT_EQ(queue_limits(200 << 20, 8).fetch, (200u << 20) / 4 / 22 / 8);
}

TEST(KafkaProperties, TheLimitsAreTheConsumers) {
    const QueueLimits limits = queue_limits(200 << 20, 1);
    std::map<std::string, std::string> found;
    for (const auto& [name, value] : consumer_properties({"b", "t", "g", "c", {}, 200 << 20}, 1)) found[name] = value;
    EXPECT_EQ(found["queued.min.messages"], std::to_string(limits.messages));
    EXPECT_EQ(found["queued.max.messages.kbytes"], std::to_string(limits.kbytes));
    EXPECT_EQ(found["max.partition.fetch.bytes"], std::to_string(limits.fetch));
    EXPECT_EQ(found.contains("fetch.queue.backoff.ms"), has_queue_backoff());
}

}  // namespace
}  // namespace topkd::test
