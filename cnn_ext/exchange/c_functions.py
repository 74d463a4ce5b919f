"""The text of the C functions that a network is written with.

REAL is float or double, EXP and TANH the functions for it, and @ stands for the prefix of all names. Images are rows of
pixels, a pixel is its channels.
"""

FRAME = """\
/* A neural network, written by cnn_ext {version}: all that it needs is in this file.

   int @predict(const REAL *image): the most probable class, 0 to {last}
   void @scores(const REAL *image, REAL *scores): the {n_out} scores of the classes

   An image is {n_in} numbers, {shape}, scaled as those that the network was trained on.
   The functions work in static memory: one thread at a time may call them.

   The layers, of which batch normalization is in the weights before it where it can be:
{layers}
*/
{include}
enum {{ @n_inputs = {n_in}, @n_scores = {n_out} }};

void @scores(const REAL *image, REAL *scores);
int @predict(const REAL *image);

{arrays}
{functions}
void @scores(const REAL *image, REAL *scores)
{{
{buffers}
    @channels_last(image, a, {channels}, {pixels});
{calls}
    for (int k = 0; k < @n_scores; k++)
        scores[k] = {end}[k];
}}

int @predict(const REAL *image)
{{
    REAL s[@n_scores];
    int best = 0;

    @scores(image, s);
    for (int k = 1; k < @n_scores; k++)
        if (s[k] > s[best] || (s[k] != s[k] && s[best] == s[best])) /* the first NaN wins */
            best = k;
    return best;
}}
"""

FUNCTIONS = {
    "channels_last": """\
static void @channels_last(const REAL *restrict x, REAL *restrict y, int channels, int pixels)
{
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < pixels; p++)
            y[p * channels + c] = x[c * pixels + p];
}
""",
    "channels_first": """\
static void @channels_first(const REAL *restrict x, REAL *restrict y, int channels, int pixels)
{
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < pixels; p++)
            y[c * pixels + p] = x[p * channels + c];
}
""",
    "conv": """\
/* The weights w are rows of pixels of channels of filters. */
static void @conv(const REAL *restrict x, REAL *restrict y, const REAL *restrict w, const REAL *restrict b, int height,
                  int width, int channels, int h_out, int w_out, int filters, int h, int v, int stride, int padding)
{
    for (int i = 0; i < h_out; i++)
        for (int j = 0; j < w_out; j++, y += filters) {
            for (int f = 0; f < filters; f++)
                y[f] = b[f];
            for (int k = 0; k < h; k++) {
                const int row = i * stride + k - padding;
                if (row < 0 || row >= height)
                    continue;
                for (int l = 0; l < v; l++) {
                    const int column = j * stride + l - padding;
                    if (column < 0 || column >= width)
                        continue;
                    const REAL *pixel = x + (row * width + column) * channels;
                    const REAL *weights = w + (k * v + l) * channels * filters;
                    for (int c = 0; c < channels; c++, weights += filters)
                        for (int f = 0; f < filters; f++)
                            y[f] += pixel[c] * weights[f];
                }
            }
        }
}
""",
    "dense": """\
static void @dense(const REAL *restrict x, REAL *restrict y, const REAL *restrict w, const REAL *restrict b, int n_in,
                   int n_out)
{
    for (int k = 0; k < n_out; k++)
        y[k] = b[k];
    for (int i = 0; i < n_in; i++, w += n_out)
        for (int k = 0; k < n_out; k++)
            y[k] += x[i] * w[k];
}
""",
    "max_pool": """\
static void @max_pool(const REAL *restrict x, REAL *restrict y, int width, int channels, int h_out, int w_out, int size,
                      int stride)
{
    for (int i = 0; i < h_out; i++)
        for (int j = 0; j < w_out; j++, y += channels) {
            const REAL *window = x + (i * width + j) * stride * channels;
            for (int c = 0; c < channels; c++)
                y[c] = window[c];
            for (int k = 0; k < size; k++)
                for (int l = 0; l < size; l++) {
                    const REAL *pixel = window + (k * width + l) * channels;
                    for (int c = 0; c < channels; c++)
                        y[c] = pixel[c] > y[c] || pixel[c] != pixel[c] ? pixel[c] : y[c]; /* NaN wins */
                }
        }
}
""",
    "average": """\
static void @average(const REAL *restrict x, REAL *restrict y, int width, int channels, int h_out, int w_out, int h,
                     int v, int stride)
{
    for (int i = 0; i < h_out; i++)
        for (int j = 0; j < w_out; j++, y += channels) {
            const REAL *window = x + (i * width + j) * stride * channels;
            for (int c = 0; c < channels; c++)
                y[c] = 0;
            for (int k = 0; k < h; k++)
                for (int l = 0; l < v; l++)
                    for (int c = 0; c < channels; c++)
                        y[c] += window[(k * width + l) * channels + c];
            for (int c = 0; c < channels; c++)
                y[c] /= (REAL)(h * v);
        }
}
""",
    "batch_norm": """\
static void @batch_norm(REAL *restrict x, const REAL *restrict mean, const REAL *restrict scale,
                        const REAL *restrict beta, int pixels, int channels)
{
    for (int p = 0; p < pixels; p++, x += channels)
        for (int c = 0; c < channels; c++)
            x[c] = (x[c] - mean[c]) * scale[c] + beta[c];
}
""",
    "standardize": """\
static void @standardize(REAL *restrict x, const REAL *restrict mean, const REAL *restrict std, int pixels,
                         int channels)
{
    for (int p = 0; p < pixels; p++, x += channels)
        for (int c = 0; c < channels; c++)
            x[c] = (x[c] - mean[c]) / std[c];
}
""",
    "relu": """\
static void @relu(REAL *restrict x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = x[i] < 0 ? 0 : x[i];
}
""",
    "sigmoid": """\
static void @sigmoid(REAL *restrict x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = 1 / (1 + EXP(-x[i]));
}
""",
    "tanh": """\
static void @tanh(REAL *restrict x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = TANH(x[i]);
}
""",
}
"""By name; those with `x` and `y` go from one buffer to another, the rest work in place."""
