"""The hot loops over a batch's look-ups in Triton: gather, pool, sum gradients of rows, apply optimizer rules in place.

They are written for CUDA devices. Triton's interpreter runs the same code on CPU tensors (TRITON_INTERPRET=1), which is
how tests hold them to the contract. Every result is deterministic: there are no atomics, and sums have a fixed order.

Shapes as in lookups.py: indices [F, B] int32, `positions`, `starts`, `places` [C] int64, tables and states [R, D]
float32 (contiguous), `out` and `gradient` [B, W] float32 or bfloat16. A tile has D padded to a power of two, BLOCK_D.
Row numbers are int64: a table may have more than 2^31 rows, and row number times width may always exceed that.
"""

import triton
import triton.language as tl

SUM, MEAN, MAX = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
FTRL, ADAGRAD, ROWWISE_ADAGRAD, ADAM, SGD, SET = (tl.constexpr(number) for number in range(6))
SPAN = tl.constexpr(64)
"""Chunks whose partial sums are added at a time."""


# ------------------------------------------------------------------------------------------------ reading


@triton.jit
def gather(
    indices,
    stride,
    positions,
    starts,
    places,
    table,
    table_stride,
    out,
    out_stride,
    num_rows,
    width,
    BLOCK_B: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Write one column's vectors to its place, for a block of rows. Grid: blocks of rows, columns."""
    c = tl.program_id(1)
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    d = tl.arange(0, BLOCK_D)
    index = tl.load(indices + tl.load(positions + c) * stride + b, mask=b < num_rows, other=0)
    rows = tl.load(starts + c) + index.to(tl.int64)
    live = (b < num_rows)[:, None] & (d < width)[None, :]
    vectors = tl.load(table + rows[:, None] * table_stride + d[None, :], mask=live, other=0.0)
    target = out + b.to(tl.int64)[:, None] * out_stride + tl.load(places + c) + d[None, :]
    tl.store(target, vectors.to(out.dtype.element_ty), mask=live)


@triton.jit
def gather_sum(
    indices, stride, positions, starts, num_columns, table, table_stride, out, num_rows, BLOCK_B: tl.constexpr
):
    """Write the sum of all columns' weights from a table [R, 1] to out [B, 1]. Grid: blocks of rows."""
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)
    live = b < num_rows
    total = tl.zeros([BLOCK_B], tl.float32)
    for c in range(num_columns):
        index = tl.load(indices + tl.load(positions + c) * stride + b, mask=live, other=0)
        rows = tl.load(starts + c) + index.to(tl.int64)
        total += tl.load(table + rows * table_stride, mask=live, other=0.0)
    tl.store(out + b, total.to(out.dtype.element_ty), mask=live)


@triton.jit
def _vectors(values, weights, start, at, live, table, table_stride, d, width, WEIGHTED: tl.constexpr):
    """Weights [M, 1] and weighted vectors [M, BLOCK_D] of the bag's values at `at` [M, 1]; zeros where not `live`."""
    rows = start + tl.load(values + at, mask=live, other=0).to(tl.int64)
    weight = live.to(tl.float32)
    if WEIGHTED:
        weight = tl.load(weights + at, mask=live, other=0.0)
    vectors = tl.load(table + rows * table_stride + d, mask=live & (d < width), other=0.0)
    return weight, weight * vectors


@triton.jit
def pool(
    values,
    bounds,
    weights,
    start,
    table,
    table_stride,
    out,
    out_stride,
    place,
    num_rows,
    width,
    HOW: tl.constexpr,
    WEIGHTED: tl.constexpr,
    ADDED: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Pool the vectors of a block of rows and write the result, or add it if ADDED. Grid: blocks of rows.

    A row without values gives zeros.
    """
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)[:, None]
    d = tl.arange(0, BLOCK_D)[None, :]
    first = tl.load(bounds + b, mask=b < num_rows, other=0)
    length = tl.load(bounds + b + 1, mask=b < num_rows, other=0) - first
    pooled = tl.zeros([BLOCK_B, BLOCK_D], tl.float32)
    total = tl.zeros([BLOCK_B, 1], tl.float32)
    for i in range(tl.max(length)):
        live = i < length
        weight, vectors = _vectors(values, weights, start, first + i, live, table, table_stride, d, width, WEIGHTED)
        total += weight
        if HOW == MAX:
            pooled = tl.where(live & ((i == 0) | (vectors > pooled)), vectors, pooled)
        else:
            pooled += vectors
    if HOW == MEAN:
        pooled = pooled / tl.where(total > 0, total, 1.0)
    target = out + b.to(tl.int64) * out_stride + place + d
    mask = (b < num_rows) & (d < width)
    if ADDED:
        pooled += tl.load(target, mask=mask, other=0.0).to(tl.float32)
    tl.store(target, pooled.to(out.dtype.element_ty), mask=mask)


@triton.jit
def spread(
    values,
    bounds,
    weights,
    start,
    table,
    table_stride,
    gradient,
    gradient_stride,
    place,
    spread_gradients,
    num_rows,
    width,
    HOW: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """The backward pass of `pool`: fill `spread_gradients` [N, D] for the bag's N values. Grid: blocks of rows.

    With max pooling, values that are equally large share the gradient evenly, as in torch. The largest value is found
    again, because the pooled one may be rounded to bfloat16.
    """
    b = tl.program_id(0) * BLOCK_B + tl.arange(0, BLOCK_B)[:, None]
    d = tl.arange(0, BLOCK_D)[None, :]
    first = tl.load(bounds + b, mask=b < num_rows, other=0)
    length = tl.load(bounds + b + 1, mask=b < num_rows, other=0) - first
    longest = tl.max(length)
    source = gradient + b.to(tl.int64) * gradient_stride + place + d
    g = tl.load(source, mask=(b < num_rows) & (d < width), other=0.0).to(tl.float32)
    largest = tl.zeros([BLOCK_B, BLOCK_D], tl.float32)
    if HOW != SUM:
        total = tl.zeros([BLOCK_B, 1], tl.float32)
        ties = tl.full([BLOCK_B, BLOCK_D], 1.0, tl.float32)
        for i in range(longest):
            live = i < length
            weight, vectors = _vectors(values, weights, start, first + i, live, table, table_stride, d, width, WEIGHTED)
            total += weight
            if HOW == MAX:
                larger = live & ((i == 0) | (vectors > largest))
                ties = tl.where(larger, 1.0, tl.where(live & (vectors == largest), ties + 1.0, ties))
                largest = tl.where(larger, vectors, largest)
        g = g / tl.where(total > 0, total, 1.0) if HOW == MEAN else g / ties
    for i in range(longest):
        live = i < length
        weight, vectors = _vectors(values, weights, start, first + i, live, table, table_stride, d, width, WEIGHTED)
        value_gradient = weight * g
        if HOW == MAX:
            value_gradient = tl.where(vectors == largest, value_gradient, 0.0)
        tl.store(spread_gradients + (first + i) * width + d, value_gradient, mask=live & (d < width))


# ------------------------------------------------------------------------------------------------ summing duplicates


@triton.jit
def _apply(RULE: tl.constexpr, table, first_state, second_state, rows, g, live, width, numbers, BLOCK_D: tl.constexpr):
    """Apply the rule (see rules.py) to those rows [M] that are `live`; `g` [M, BLOCK_D] are their summed gradients.

    `numbers` (float32 on the device) begin with the gradients' factor. Then come, for ftrl: alpha, beta, l1, l2;
    adagrad and rowwise_adagrad: rate, l2, epsilon; adam: step size, scale of v, l2, beta1, beta2, epsilon; sgd: rate.
    SET stores the sums.
    """
    d = tl.arange(0, BLOCK_D)
    mask = live[:, None] & (d < width)[None, :]
    at = rows[:, None] * width + d[None, :]
    g = g * tl.load(numbers)
    if RULE == SET:
        tl.store(table + at, g, mask=mask)
    else:
        w = tl.load(table + at, mask=mask, other=0.0)
        if RULE == FTRL:
            alpha, beta = tl.load(numbers + 1), tl.load(numbers + 2)
            l1, l2 = tl.load(numbers + 3), tl.load(numbers + 4)
            z = tl.load(first_state + at, mask=mask, other=0.0)
            n = tl.load(second_state + at, mask=mask, other=0.0)
            new_n = n + g * g
            root = tl.sqrt(new_n)
            z += g - (root - tl.sqrt(n)) / alpha * w
            shrunk = tl.maximum(tl.abs(z) - l1, 0.0)
            w = tl.where(z < 0, shrunk, -shrunk) / ((beta + root) / alpha + l2)
            tl.store(first_state + at, z, mask=mask)
            tl.store(second_state + at, new_n, mask=mask)
        elif RULE == ADAGRAD:
            rate, l2, epsilon = tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
            g += l2 * w
            n = tl.load(first_state + at, mask=mask, other=0.0) + g * g
            w -= rate * g / (tl.sqrt(n) + epsilon)
            tl.store(first_state + at, n, mask=mask)
        elif RULE == ROWWISE_ADAGRAD:
            rate, l2, epsilon = tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
            g = tl.where(mask, g + l2 * w, 0.0)
            n = tl.load(first_state + rows, mask=live, other=0.0) + tl.sum(g * g, axis=1) / width
            w -= (rate / (tl.sqrt(n) + epsilon))[:, None] * g
            tl.store(first_state + rows, n, mask=live)
        elif RULE == ADAM:
            step_size, v_scale, l2 = tl.load(numbers + 1), tl.load(numbers + 2), tl.load(numbers + 3)
            beta1, beta2, epsilon = tl.load(numbers + 4), tl.load(numbers + 5), tl.load(numbers + 6)
            g += l2 * w
            m = tl.load(first_state + at, mask=mask, other=0.0)
            v = tl.load(second_state + at, mask=mask, other=0.0)
            m += (1.0 - beta1) * (g - m)
            v = v * beta2 + g * g * (1.0 - beta2)
            w -= step_size * m / (tl.sqrt(v * v_scale) + epsilon)
            tl.store(first_state + at, m, mask=mask)
            tl.store(second_state + at, v, mask=mask)
        else:
            w -= tl.load(numbers + 1) * g
        tl.store(table + at, w, mask=mask)


@triton.jit
def sum_chunk(
    sorted_rows,
    order,
    num_entries,
    gradient,
    gradient_stride,
    places,
    num_rows,
    num_dense,
    spread_gradients,
    table,
    first_state,
    second_state,
    partial_sums,
    numbers,
    width,
    RULE: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Sum the gradients of equal rows in one chunk of the sorted look-ups. Grid: chunks.

    `order` [E] is the position of each entry before sorting. Below `num_dense` (columns times batch rows) it is column
    * num_rows + row; from there on it is a position in `spread_gradients` [N, D]. A row is updated here if all of its
    entries are in the chunk. Other sums go to `partial_sums` [chunks, 2, BLOCK_D]: first that of the row that began
    before the chunk, then that of the row that begins in the chunk and goes on after it. `finish` adds them up.
    """
    chunk = tl.program_id(0).to(tl.int64)
    begin = chunk * CHUNK
    end = tl.minimum(begin + CHUNK, num_entries)
    e = begin + tl.arange(0, CHUNK)
    d = tl.arange(0, BLOCK_D)
    live = e < end
    rows = tl.load(sorted_rows + e, mask=live, other=-1)
    before = tl.load(sorted_rows + e - 1, mask=live & (e > 0), other=-1)
    first_row, last_row = tl.load(sorted_rows + begin), tl.load(sorted_rows + end - 1)
    began = tl.load(sorted_rows + begin - 1, mask=begin > 0, other=-1) == first_row
    goes_on = tl.load(sorted_rows + end, mask=end < num_entries, other=-1) == last_row

    place = tl.load(order + e, mask=live, other=0)
    dense = live & (place < num_dense)
    column = tl.where(dense, place // num_rows, 0)
    source = (place % num_rows) * gradient_stride + tl.load(places + column, mask=dense, other=0)
    in_width = (d < width)[None, :]
    g = tl.load(gradient + source[:, None] + d[None, :], mask=dense[:, None] & in_width, other=0.0).to(tl.float32)
    spread_offset = (place - num_dense)[:, None] * width + d[None, :]
    g += tl.load(spread_gradients + spread_offset, mask=(live & (place >= num_dense))[:, None] & in_width, other=0.0)
    # Every entry gets its row's sum over the chunk. ieee: a tensor core would round the gradients to TF32.
    same = (rows[:, None] == rows[None, :]).to(tl.float32)
    sums = tl.dot(same, g, input_precision="ieee")

    head = live & ((e == begin) | (rows != before))
    from_before = began & (rows == first_row)
    to_after = goes_on & (rows == last_row) & (from_before == 0)
    target = partial_sums + chunk * 2 * BLOCK_D + d[None, :] + tl.zeros([CHUNK, 1], tl.int64)
    tl.store(target, sums, mask=(head & from_before)[:, None] & (d >= 0)[None, :])
    tl.store(target + BLOCK_D, sums, mask=(head & to_after)[:, None] & (d >= 0)[None, :])
    whole = head & (from_before == 0) & (to_after == 0)
    _apply(RULE, table, first_state, second_state, rows, sums, whole, width, numbers, BLOCK_D)


@triton.jit
def finish(
    sorted_rows,
    num_entries,
    table,
    first_state,
    second_state,
    partial_sums,
    numbers,
    width,
    RULE: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Update the row that begins in this chunk and goes on in the next chunks, if there is one. Grid: chunks."""
    chunk = tl.program_id(0).to(tl.int64)
    begin = chunk * CHUNK
    end = tl.minimum(begin + CHUNK, num_entries)
    row = tl.load(sorted_rows + end - 1)
    goes_on = tl.load(sorted_rows + end, mask=end < num_entries, other=-1) == row
    began = tl.load(sorted_rows + begin - 1, mask=begin > 0, other=-1) == row
    if goes_on & (began == 0):
        d = tl.arange(0, BLOCK_D)
        total = tl.load(partial_sums + (chunk * 2 + 1) * BLOCK_D + d)
        following = chunk + 1 + tl.arange(0, SPAN)
        members = tl.full([1], SPAN, tl.int32)
        while tl.max(members) == SPAN:
            same_row = following * CHUNK < num_entries
            same_row = same_row & (tl.load(sorted_rows + following * CHUNK, mask=same_row, other=-1) == row)
            parts = tl.load(
                partial_sums + following[:, None] * 2 * BLOCK_D + d[None, :], mask=same_row[:, None], other=0.0
            )
            total += tl.sum(parts, axis=0)
            members = tl.full([1], 0, tl.int32) + tl.sum(same_row.to(tl.int32))
            following += SPAN
        rows = row + tl.zeros([1], tl.int64)
        _apply(RULE, table, first_state, second_state, rows, total[None, :], rows >= 0, width, numbers, BLOCK_D)


@triton.jit
def pay(sorted_rows, num_entries, table, received, decay, width, BLOCK: tl.constexpr, BLOCK_D: tl.constexpr):
    """Multiply each row once by exp(decay - received). `received` [R], `decay` [1] float64. Grid: blocks of entries."""
    e = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    d = tl.arange(0, BLOCK_D)
    live = e < num_entries
    rows = tl.load(sorted_rows + e, mask=live, other=-1)
    head = live & (rows != tl.load(sorted_rows + e - 1, mask=live & (e > 0), other=-1))
    now = tl.load(decay)
    owed = tl.exp(now - tl.load(received + rows, mask=head, other=0.0)).to(tl.float32)
    mask = head[:, None] & (d < width)[None, :]
    at = table + rows[:, None] * width + d[None, :]
    tl.store(at, tl.load(at, mask=mask, other=0.0) * owed[:, None], mask=mask)
    tl.store(received + rows, tl.zeros([BLOCK], tl.float64) + now, mask=head)
