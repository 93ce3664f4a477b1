#include "rollout/page_pool.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace cohort {
namespace {

TEST(PagePool, PagesAreTakenWhereTheyAreNeededAndGivenBack) {
  PagePool pool(4, 3, 16);
  EXPECT_TRUE(pool.reserve(0, 16));
  EXPECT_EQ(pool.free_pages(), 3);
  pool.append(0, 16);
  EXPECT_THROW(pool.append(0, 1), std::logic_error);
  EXPECT_FALSE(pool.reserve(1, 49));  // needs four
  EXPECT_EQ(pool.free_pages(), 3);
  EXPECT_TRUE(pool.reserve(1, 48));
  EXPECT_FALSE(pool.reserve(0, 1));
  pool.release(1);
  EXPECT_TRUE(pool.reserve(0, 1));
  pool.release(0);
  EXPECT_EQ(pool.free_pages(), 4);
}

TEST(PagePool, ASharedPromptHoldsItsWholePagesOnce) {
  PagePool pool(8, 4, 16);
  ASSERT_TRUE(pool.reserve(0, 40));
  pool.append(0, 40);  // two whole pages and a half
  const auto copy = pool.share(0, 1);
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->whole, 2);
  EXPECT_EQ(copy->from, pool.pages(0)[2]);
  EXPECT_EQ(copy->to, pool.pages(1)[2]);
  EXPECT_NE(copy->from, copy->to);
  EXPECT_EQ(pool.pages(0)[1], pool.pages(1)[1]);
  EXPECT_EQ(pool.free_pages(), 4);
  EXPECT_EQ(pool.length(1), 40);
  pool.release(0);
  EXPECT_EQ(pool.free_pages(), 5);  // the shared ones are still held
  pool.release(1);
  EXPECT_EQ(pool.free_pages(), 8);
  ASSERT_TRUE(pool.reserve(2, 32));
  pool.append(2, 32);
  const auto whole = pool.share(2, 3);
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->to, -1);
  EXPECT_EQ(pool.free_pages(), 6);
}

// Against the obvious bookkeeping: no page is written by two slots, none is lost.
TEST(PagePool, NothingIsLostOrWrittenTwice) {
  std::mt19937 rng(3);
  for (int round = 0; round < 200; ++round) {
    const int32_t pages = 4 + int32_t(rng() % 30), slots = 2 + int32_t(rng() % 8), size = 1 << rng() % 5;
    PagePool pool(pages, slots, size);
    for (int i = 0; i < 300; ++i) {
      const auto a = int32_t(rng() % uint32_t(slots)), b = int32_t(rng() % uint32_t(slots));
      const int32_t before = pool.free_pages();
      switch (rng() % 4) {
        case 0:
          pool.release(a);
          break;
        case 1:
          if (a == b) break;
          pool.release(b);
          pool.share(a, b);
          break;
        default:
          if (const auto n = int32_t(rng() % uint32_t(2 * size + 1)); pool.reserve(a, n))
            pool.append(a, n);
          else
            ASSERT_EQ(pool.free_pages(), before);
      }
      std::map<int32_t, std::set<int32_t>> holders;
      for (int32_t s = 0; s < slots; ++s) {
        const auto& held = pool.pages(s);
        ASSERT_GE(int64_t(held.size()) * size, pool.length(s));
        for (size_t p = 0; p < held.size(); ++p) {
          ASSERT_TRUE(holders[held[p]].insert(s).second);
          // a page that may still be written (it is not whole) has one holder
          if (int64_t(p + 1) * size > pool.length(s)) {
            ASSERT_EQ(holders[held[p]].size(), 1u);
          }
        }
      }
      ASSERT_EQ(int32_t(holders.size()) + pool.free_pages(), pages);
    }
  }
}

}  // namespace
}  // namespace cohort
