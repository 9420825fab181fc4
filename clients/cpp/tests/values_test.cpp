#include "values.hpp"

#include <agenterra/state/v1/service.pb.h>

#include <cmath>
#include <limits>

#include "support/service.hpp"

namespace tests {
namespace {

namespace v1 = ::agenterra::state::v1;

google::protobuf::Value to_wire(const Value& value) {
  google::protobuf::Value message;
  detail::fill(message, value, "key");
  return message;
}

Value back(const Value& value) {
  google::protobuf::Value message;
  EXPECT_TRUE(message.ParseFromString(to_wire(value).SerializeAsString()));
  return detail::from_wire(message);
}

/// The path of a refusal.
std::string path_of(const Value& value) {
  const WorkflowStateError error = failure_of([&] { to_wire(value); });
  EXPECT_EQ(error.reason(), Reason::invalid_value);
  EXPECT_EQ(error.code(), Code::invalid_argument);
  EXPECT_EQ(error.metadata().at("key"), "key");
  return error.metadata().at("path");
}

Value nested(int levels, bool objects) {
  Value value = 1;
  for (int level = 1; level < levels; ++level) {
    Value outer = objects ? Value::object() : Value::array({nullptr});
    (objects ? outer["a"] : outer[0]) = std::move(value);
    value = std::move(outer);
  }
  return value;
}

TEST(Values, ComeBackEqualAndOfTheSameType) {
  const std::vector<Value> values{
      nullptr,
      true,
      false,
      0,
      -1,
      0.1,
      1.5,
      5e-324,
      1.7976931348623157e308,
      std::int64_t{9007199254740992},
      std::int64_t{-9007199254740992},
      9007199254740994.0,
      "",
      "a\0b",
      "\u05d0\U0001f6d2\ufeff",
      Value::array(),
      Value::object(),
      {1, nullptr, {2, {"x"}}},
      {{"__proto__", 1}, {"", {{"", Value::array()}}}},
  };
  for (const Value& value : values) {
    EXPECT_EQ(back(value), value);
    EXPECT_EQ(back(value).type(), value.type()) << value;
  }
}

TEST(Values, KeepEveryBitOfANumber) {
  for (const double number : {0.1, 5e-324, 2.2250738585072014e-308, 1e300, 1.0000000000000002, -0.5}) {
    EXPECT_EQ(std::signbit(back(number).get<double>()), std::signbit(number));
    EXPECT_EQ(back(number).get<double>(), number);
  }
}

TEST(Values, WholeNumbersWithin2To53AreIntegersAndMinusZeroIsZero) {
  EXPECT_TRUE(back(1.0).is_number_integer());
  EXPECT_TRUE(back(9007199254740992.0).is_number_integer());
  EXPECT_TRUE(back(9007199254740994.0).is_number_float());
  EXPECT_TRUE(back(0.5).is_number_float());
  EXPECT_TRUE(back(-0.0).is_number_integer());
  EXPECT_FALSE(std::signbit(to_wire(-0.0).number_value()));
}

TEST(Values, ThatCanNotBeCarriedAreRefusedWithThePath) {
  EXPECT_EQ(path_of(std::numeric_limits<double>::quiet_NaN()), "$");
  EXPECT_EQ(path_of({{"of", {1, std::numeric_limits<double>::infinity()}}}), "$.of[1]");
  EXPECT_EQ(path_of({{"of", {std::int64_t{9007199254740993}}}}), "$.of[0]");
  EXPECT_EQ(path_of({{"of", {std::int64_t{-9007199254740993}}}}), "$.of[0]");
  EXPECT_EQ(path_of(std::numeric_limits<std::uint64_t>::max()), "$");
  EXPECT_EQ(path_of({{"of", {Value::binary({1, 2})}}}), "$.of[0]");
  EXPECT_EQ(path_of({{"a b", {{"\"", "\xff"}}}}), R"($["a b"]["\""])");
  EXPECT_EQ(path_of({{"in", {{"\xed\xa0\x80", 1}}}}), "$.in");
  EXPECT_EQ(path_of({1, Value(Value::value_t::discarded)}), "$[1]");
}

TEST(Values, OfALongNameHaveACutPath) {
  const std::string name(99, 'n');
  EXPECT_EQ(path_of({{name + "\u05d0\u05d0", {NAN}}}), "$[\"" + name + "…\"][0]");
  Value deep = NAN;
  for (int level = 0; level < 31; ++level) deep = Value{{name, deep}};
  EXPECT_LT(path_of(deep).size(), 1200u);
  EXPECT_EQ(path_of(deep).substr(path_of(deep).size() - 3), "…");
}

TEST(Values, Of32LevelsAreCarriedAndDeeperOnesRefused) {
  for (const bool objects : {true, false}) {
    EXPECT_EQ(back(nested(32, objects)), nested(32, objects));
    std::string path = "$";
    for (int level = 1; level <= 32; ++level) path += objects ? ".a" : "[0]";
    EXPECT_EQ(path_of(nested(33, objects)), path);
    // However deep: it does not run out of stack.
    EXPECT_EQ(path_of(nested(100'000, objects)), path);
  }
}

TEST(Values, Of32LevelsAreReadInTheDeepestAnswers) {
  const Value deepest = nested(32, true);
  const auto in_session = [&](v1::Session* session) { (*session->mutable_state())["k"] = to_wire(deepest); };
  v1::PipelineResponse pipeline;
  in_session(pipeline.add_results()->mutable_get_session()->mutable_session());
  v1::PipelineResponse read;
  ASSERT_TRUE(read.ParseFromString(pipeline.SerializeAsString()));
  EXPECT_EQ(detail::from_wire(read.results(0).get_session().session().state().at("k")), deepest);

  // And one level more would not: the limit is where it must be for this parser.
  auto& value = *pipeline.mutable_results(0)->mutable_get_session()->mutable_session()->mutable_state();
  google::protobuf::Value deeper;
  (*deeper.mutable_struct_value()->mutable_fields())["a"] = value["k"];
  value["k"] = deeper;
  EXPECT_FALSE(read.ParseFromString(pipeline.SerializeAsString()));
}

TEST(Values, TextIsUtf8) {
  for (const char* good : {"", "a", "\x7f", "\u0080", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff",
                           "\U00010000", "\U0010ffff"}) {
    EXPECT_TRUE(detail::is_utf8(good)) << good;
  }
  for (const char* bad :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xe2\x82",
        "\xe2\x82z", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "a\xc3"}) {
    EXPECT_FALSE(detail::is_utf8(bad)) << Value(bad).dump(-1, ' ', true, Value::error_handler_t::replace);
  }
}

}  // namespace
}  // namespace tests
