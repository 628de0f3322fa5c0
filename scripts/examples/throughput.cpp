// Samples a second of a model, computed by several threads on one model: throughput MODEL [THREADS [SECONDS]]
//
// Each thread makes calls of its own, as the workers of a server would; the model is shared.
#include <godwit.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Model = std::unique_ptr<godwit_model, decltype(&godwit_close)>;

Model open_model(const std::string &name) {
    godwit_options options = GODWIT_OPTIONS;
    options.threads = 1; // of each call
    godwit_model *model = nullptr;
    godwit_error error;
    if (godwit_open(name.c_str(), &options, &model, &error)) throw std::runtime_error(error.message);
    return Model(model, godwit_close);
}

// The values of n samples of all inputs, or of all outputs.
std::vector<std::vector<float>> make_arrays(const std::vector<godwit_shape> &shapes, int64_t n) {
    std::vector<std::vector<float>> arrays;
    for (const godwit_shape &shape : shapes) {
        int64_t count = godwit_shape_count(&shape);
        if (count < 0) throw std::runtime_error("the model's inputs have no fixed size");
        arrays.emplace_back(static_cast<size_t>(n * count), 0.5f);
    }
    return arrays;
}

// Runs batches until it is told to stop; returns how many samples that were.
int64_t run_batches(godwit_model *model, int64_t n, const std::atomic<bool> &stop) {
    std::vector<godwit_shape> in(static_cast<size_t>(godwit_input_count(model)));
    std::vector<godwit_shape> out(static_cast<size_t>(godwit_output_count(model)));
    for (size_t i = 0; i < in.size(); i++) godwit_input_shape(model, static_cast<int>(i), &in[i]);
    for (size_t i = 0; i < out.size(); i++) godwit_output_shape(model, static_cast<int>(i), &out[i]);
    auto inputs = make_arrays(in, n), outputs = make_arrays(out, n);
    std::vector<const float *> x;
    std::vector<float *> y;
    for (auto &array : inputs) x.push_back(array.data());
    for (auto &array : outputs) y.push_back(array.data());
    int64_t samples = 0;
    godwit_error error;
    while (!stop) {
        if (godwit_run(model, n, x.data(), y.data(), &error)) throw std::runtime_error(error.message);
        samples += n;
    }
    return samples;
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: throughput MODEL [THREADS [SECONDS]]\n");
        return 2;
    }
    const int threads = argc > 2 ? std::atoi(argv[2]) : 2;
    const double seconds = argc > 3 ? std::atof(argv[3]) : 2;
    try {
        Model model = open_model(argv[1]);
        std::atomic<bool> stop{false};
        std::atomic<int64_t> samples{0};
        std::atomic<int> failed{0};
        std::vector<std::thread> workers;
        for (int t = 0; t < threads; t++)
            workers.emplace_back([&] {
                try {
                    samples += run_batches(model.get(), 16, stop);
                } catch (const std::exception &e) {
                    std::fprintf(stderr, "throughput: %s\n", e.what());
                    failed++;
                }
            });
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
        stop = true;
        for (auto &worker : workers) worker.join();
        if (failed) return 1;
        std::printf("%d threads: %.0f samples/s\n", threads, static_cast<double>(samples) / seconds);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "throughput: %s\n", e.what());
        return 1;
    }
    return 0;
}
