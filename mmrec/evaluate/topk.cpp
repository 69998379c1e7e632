// The k largest of each row of a matrix of scores, known items left out. topk.py has it compiled, once.
//
// The row is cut into blocks. The k-th largest of the blocks' maxima is at most the k-th largest score, as k scores
// reach it; so only blocks whose maximum reaches it are looked into, little more than k. Equal scores are ranked by the
// item's number.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

namespace {

constexpr int64_t kBlock = 32;
constexpr float kNothing = -std::numeric_limits<float>::infinity();

typedef float Lane __attribute__((vector_size(32), aligned(4), may_alias));

struct Candidate {
    float score;
    int64_t item;

    bool operator<(const Candidate& other) const {  // "is better than"
        return score > other.score || (score == other.score && item < other.item);
    }
};

float largest(const float* score, int64_t count) {
    float most = kNothing;
    if (count == kBlock) {
        const Lane* lane = reinterpret_cast<const Lane*>(score);
        Lane max = Lane{} + kNothing;
        for (int l = 0; l < 4; ++l) max = lane[l] > max ? lane[l] : max;
        for (int l = 0; l < 8; ++l) most = max[l] > most ? max[l] : most;
    } else {
        for (int64_t i = 0; i < count; ++i) most = score[i] > most ? score[i] : most;
    }
    return most;
}

struct Workspace {
    std::vector<float> maxima, sorted;
    std::vector<Candidate> found;

    void best_of_row(const float* score, int64_t items, int64_t k, int64_t* best, float* best_score) {
        maxima.clear();
        for (int64_t from = 0; from < items; from += kBlock)
            maxima.push_back(largest(score + from, std::min(kBlock, items - from)));
        float least = kNothing;
        if (int64_t(maxima.size()) > k) {
            sorted = maxima;
            std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(), std::greater<float>());
            least = sorted[k - 1];
        }
        found.clear();
        for (int64_t from = 0; from < items; from += kBlock)
            if (maxima[from / kBlock] >= least)
                for (int64_t i = from; i < std::min(from + kBlock, items); ++i)
                    if (score[i] >= least && score[i] > kNothing) found.push_back({score[i], i});
        const int64_t count = std::min<int64_t>(k, found.size());
        std::partial_sort(found.begin(), found.begin() + count, found.end());
        for (int64_t r = 0; r < k; ++r) {
            best[r] = r < count ? found[r].item : 0;
            best_score[r] = r < count ? found[r].score : kNothing;
        }
    }
};

}  // namespace

// score: [rows, items], overwritten where an item is known. Row r is that of user[r], whose known items are
// known[start[user[r]]] up to known[start[user[r] + 1]]. best and best_score: [rows, k]; where a row has fewer than k
// items left, item 0 with a score of minus infinity.
extern "C" void best_items(float* score, int64_t rows, int64_t items, const int64_t* user, const int64_t* start,
                           const int64_t* known, int64_t k, int64_t* best, float* best_score, int32_t threads) {
#pragma omp parallel num_threads(threads)
    {
        Workspace workspace;
#pragma omp for schedule(dynamic, 8)
        for (int64_t r = 0; r < rows; ++r) {
            float* row = score + r * items;
            for (int64_t e = start[user[r]]; e < start[user[r] + 1]; ++e)
                row[known[e]] = kNothing;
            workspace.best_of_row(row, items, k, best + r * k, best_score + r * k);
        }
    }
}
