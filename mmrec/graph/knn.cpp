// The k largest of each row, and of each column, of a tile of similarities, merged into lists kept from tile to tile.
// knn.py has it compiled, once.
//
// Nearly no value gets into a list once a few tiles were seen: 16 values at a time are compared with the least of their
// lists, and looked at one by one only where one is larger. Numbers must come in rising order: then of equal values the
// smaller number stays.

#include <algorithm>
#include <cstdint>

namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kChunk = 256;  // columns one thread takes down all rows, its lists staying in the cache

inline bool any_larger(const float* value, const float* least) {
    int found = 0;
    for (int64_t l = 0; l < kLanes; ++l) found |= value[l] > least[l];
    return found;
}

// Into a list of k, largest first.
inline void insert(float value, int32_t number, int64_t k, float* best, int32_t* numbers) {
    int64_t at = k - 1;
    for (; at > 0 && best[at - 1] < value; --at) {
        best[at] = best[at - 1];
        numbers[at] = numbers[at - 1];
    }
    best[at] = value;
    numbers[at] = number;
}

}  // namespace

// tile: [rows, cols], `stride` apart. best, numbers: [rows, k] lists of the rows; column c has the number first + c.
extern "C" void merge_rows(const float* tile, int64_t rows, int64_t cols, int64_t stride, int64_t first, int64_t k,
                           float* best, int32_t* numbers, int32_t threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t r = 0; r < rows; ++r) {
        const float* row = tile + r * stride;
        float* list = best + r * k;
        int32_t* items = numbers + r * k;
        float least[kLanes];
        std::fill(least, least + kLanes, list[k - 1]);
        int64_t c = 0;
        for (; c + kLanes <= cols; c += kLanes) {
            if (!any_larger(row + c, least)) continue;
            for (int64_t l = 0; l < kLanes; ++l)
                if (row[c + l] > list[k - 1]) insert(row[c + l], int32_t(first + c + l), k, list, items);
            std::fill(least, least + kLanes, list[k - 1]);
        }
        for (; c < cols; ++c)
            if (row[c] > list[k - 1]) insert(row[c], int32_t(first + c), k, list, items);
    }
}

// The same for the columns; best, numbers: [cols, k]; row r has the number first + r.
extern "C" void merge_columns(const float* tile, int64_t rows, int64_t cols, int64_t stride, int64_t first, int64_t k,
                              float* best, int32_t* numbers, int32_t threads) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int64_t from = 0; from < cols; from += kChunk) {
        const int64_t count = std::min(kChunk, cols - from);
        float least[kChunk];
        for (int64_t c = 0; c < count; ++c) least[c] = best[(from + c) * k + k - 1];
        const auto offer = [&](float value, int64_t c, int64_t r) {
            if (value <= least[c]) return;
            float* list = best + (from + c) * k;
            insert(value, int32_t(first + r), k, list, numbers + (from + c) * k);
            least[c] = list[k - 1];
        };
        for (int64_t r = 0; r < rows; ++r) {
            const float* row = tile + r * stride + from;
            int64_t c = 0;
            for (; c + kLanes <= count; c += kLanes)
                if (any_larger(row + c, least + c))
                    for (int64_t l = 0; l < kLanes; ++l) offer(row[c + l], c + l, r);
            for (; c < count; ++c) offer(row[c], c, r);
        }
    }
}
