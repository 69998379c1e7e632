// The k largest of each row of a matrix of scores, known items left out. topk.py has it compiled, once.
//
// Nearly all scores lie below the k-th best of those seen before, so that a row is mostly read and compared, many
// scores at once. Equal scores are ranked by the item's number.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

constexpr int64_t kBlock = 32;  // scores compared at once
constexpr int64_t kSpare = 4;   // candidates that may pile up, in k, before the worst are dropped

struct Candidate {
    float score;
    int64_t item;

    bool operator<(const Candidate& other) const {  // "is better than"
        return score > other.score || (score == other.score && item < other.item);
    }
};

void best_of_row(const float* score, int64_t items, int64_t k, std::vector<Candidate>& found, int64_t* best,
                 float* best_score) {
    const float nothing = -std::numeric_limits<float>::infinity();
    float least = nothing;  // of the k best so far, once there are k
    found.clear();
    for (int64_t from = 0; from < items; from += kBlock) {
        const int64_t stop = std::min(from + kBlock, items);
        int any = 0;
        for (int64_t i = from; i < stop; ++i) any |= score[i] > least;
        if (!any) continue;
        for (int64_t i = from; i < stop; ++i)
            if (score[i] > least) found.push_back({score[i], i});
        if (int64_t(found.size()) >= kSpare * k + kBlock) {
            std::nth_element(found.begin(), found.begin() + (k - 1), found.end());
            found.resize(k);
            least = found[k - 1].score;
        }
    }
    const int64_t count = std::min<int64_t>(k, found.size());
    std::partial_sort(found.begin(), found.begin() + count, found.end());
    for (int64_t r = 0; r < k; ++r) {
        best[r] = r < count ? found[r].item : 0;
        best_score[r] = r < count ? found[r].score : nothing;
    }
}

}  // namespace

// score: [rows, items], overwritten where an item is known. Row r is that of user[r], whose known items are
// known[start[user[r]]] up to known[start[user[r] + 1]]. best and best_score: [rows, k]; where a row has fewer than k
// items left, item 0 with a score of minus infinity.
extern "C" void best_items(float* score, int64_t rows, int64_t items, const int64_t* user, const int64_t* start,
                           const int64_t* known, int64_t k, int64_t* best, float* best_score, int32_t threads) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<Candidate> found;
        found.reserve((kSpare + 1) * k + 2 * kBlock);
#pragma omp for schedule(dynamic, 8)
        for (int64_t r = 0; r < rows; ++r) {
            float* row = score + r * items;
            for (int64_t e = start[user[r]]; e < start[user[r] + 1]; ++e)
                row[known[e]] = -std::numeric_limits<float>::infinity();
            best_of_row(row, items, k, found, best + r * k, best_score + r * k);
        }
    }
}
