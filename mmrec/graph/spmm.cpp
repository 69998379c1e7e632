// A sparse matrix times a dense one: the kernel that training spends its time in. native.py compiles it, once.
//
// One thread sums a row, in the order of its entries, so that the result does not depend on the number of threads.
// Rows are dealt out in pieces of equal work, not of equal number: in a user-item graph the rows of the items, the
// last quarter, hold half of the entries. Rows of x are asked for ahead of their use, as their places are random and
// no processor guesses them.

#include <algorithm>
#include <cstdint>

namespace {

constexpr int64_t kAhead = 16;   // entries between asking for a row of x and using it
constexpr int64_t kPieces = 32;  // pieces of work per thread

// The first row that has at least `work` entries and rows (each counted twice) before it.
int64_t row_at(const int32_t* start, int64_t rows, int64_t work) {
    int64_t low = 0, high = rows;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (start[middle] + 2 * middle < work)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// Eight floats or four doubles at once, read from any address.
template <typename T>
struct Lane {
    typedef T type __attribute__((vector_size(32), aligned(alignof(T)), may_alias));
    static constexpr int64_t size = 32 / sizeof(T);
};

// A sparse [R, C] matrix in CSR, and what is done with it:
//
//     out[i] = scale * (add[a(i)] + sum over the entries e of row r(i) of value[e] * x[b(column[e])])
//
// for i in [0, count). r, a and b are the identity where `row`, `add_place` and `place` are null; else look-ups.
struct Task {
    int64_t rows;                // R
    const int32_t *start, *column;
    const void* value;
    int64_t count;               // rows of the result: R, or the length of `row`
    const int64_t* row;          // rows of the matrix that are wanted
    const void* x;
    const int32_t* place;        // where a column's row lies in x
    const void* add;             // or null
    const int32_t* add_place;    // where a row's addend lies in add
    void* out;
    int64_t dim;
    double scale;
    int32_t threads;
};

// The entries of one row; `left` is how far beyond the first one column may be read.
template <typename T>
struct Entries {
    const int32_t *column, *place;
    const T* value;
    int64_t count, left;

    int64_t at(int64_t e) const { return place ? place[column[e]] : column[e]; }
};

// LANES * Lane::size columns of one row of the result, their sums in registers. x, add and out begin at these columns.
template <typename T, int LANES>
inline void columns(const Entries<T> row, const T* __restrict x, int64_t dim, const T* __restrict add,
                    T* __restrict out, T scale) {
    typedef typename Lane<T>::type Vector;
    Vector sum[LANES] = {};
    for (int64_t e = 0; e < row.count; ++e) {
        const char* next = reinterpret_cast<const char*>(x + row.at(std::min(e + kAhead, row.left)) * dim);
        for (int k = 0; k < LANES; k += 2) __builtin_prefetch(next + 32 * k);
        const Vector* from = reinterpret_cast<const Vector*>(x + row.at(e) * dim);
        for (int k = 0; k < LANES; ++k) sum[k] += row.value[e] * from[k];
    }
    for (int k = 0; k < LANES; ++k) {
        if (add) sum[k] += reinterpret_cast<const Vector*>(add)[k];
        reinterpret_cast<Vector*>(out)[k] = scale * sum[k];
    }
}

template <typename T>
inline void one_column(const Entries<T> row, const T* x, int64_t dim, const T* add, T* out, T scale) {
    T sum = 0;
    for (int64_t e = 0; e < row.count; ++e) sum += row.value[e] * x[row.at(e) * dim];
    *out = scale * (add ? sum + *add : sum);
}

template <typename T>
void one_row(const Task& task, int64_t i) {
    constexpr int64_t lane = Lane<T>::size;
    const int64_t r = task.row ? task.row[i] : i, first = task.start[r], dim = task.dim;
    const Entries<T> row{task.column + first, task.place, static_cast<const T*>(task.value) + first,
                         task.start[r + 1] - first, task.start[task.rows] - 1 - first};
    const T* x = static_cast<const T*>(task.x);
    const T* add = static_cast<const T*>(task.add);
    if (add) add += (task.add_place ? task.add_place[r] : r) * dim;
    T* out = static_cast<T*>(task.out) + i * dim;
    const T scale = T(task.scale);
    int64_t k = 0;
    for (; k + 8 * lane <= dim; k += 8 * lane) columns<T, 8>(row, x + k, dim, add ? add + k : add, out + k, scale);
    for (; k + 2 * lane <= dim; k += 2 * lane) columns<T, 2>(row, x + k, dim, add ? add + k : add, out + k, scale);
    for (; k < dim; ++k) one_column(row, x + k, dim, add ? add + k : add, out + k, scale);
}

template <typename T>
void multiply(const Task& task) {
    const int64_t work = task.start[task.rows] + 2 * task.rows, pieces = kPieces * task.threads;
#pragma omp parallel for schedule(dynamic) num_threads(task.threads)
    for (int64_t piece = 0; piece < pieces; ++piece) {
        const int64_t first = task.row ? task.count * piece / pieces
                                       : row_at(task.start, task.rows, work * piece / pieces);
        const int64_t stop = task.row ? task.count * (piece + 1) / pieces
                                      : row_at(task.start, task.rows, work * (piece + 1) / pieces);
        for (int64_t i = first; i < stop; ++i) one_row<T>(task, i);
    }
}

}  // namespace

extern "C" void multiply_float32(const Task* task) { multiply<float>(*task); }

extern "C" void multiply_float64(const Task* task) { multiply<double>(*task); }
