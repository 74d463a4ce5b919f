/* Where the numbers of an image lie: in either order of its axes. */
#ifndef CNN_EXT_LAYOUT_H
#define CNN_EXT_LAYOUT_H

#include <stddef.h>

typedef struct {
    ptrdiff_t channel_stride, pixel_stride;
} image_layout;

#endif
