/* The running maximum of a pooling window. Included by the bodies that need it, behind simd.h. */

/* Let the value at a place of its window compete: the first of equal values wins, a NaN over all, the first over later.
 * */
static ALWAYS_INLINE void NAMED(compete)(NAMED(vec) value, int place, NAMED(vec) *best, NAMED(mask) *winner)
{
    NAMED(mask) wins = ~(value <= *best) & (*best == *best);
    NAMED(mask) places = (NAMED(mask)){0} + (INTEGER)place;
    if (place == 0)
        wins = ~(NAMED(mask)){0};
    *best = (NAMED(vec))(((NAMED(mask))value & wins) | ((NAMED(mask))*best & ~wins));
    *winner = (places & wins) | (*winner & ~wins);
}

/* What a ReLU before the pooling would have made of it: where no value was above 0 all are 0, and the first has won. */
static ALWAYS_INLINE void NAMED(rectify_winner)(NAMED(vec) *best, NAMED(mask) *winner)
{
    *winner &= ~(*best <= 0);
    *best = NAMED(relu)(*best);
}
