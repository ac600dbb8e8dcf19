"""The parts of a transformer over histories, from which models are put together.

    inputs      the vectors that the first block gets: of items and of positions
    features    side information: of users, of items (in the item table too), ratings
    context     of events in time: gap, hour, weekday
    masking     events hidden at random, to be predicted from both sides
    layout      where the padding stands: behind the events, so that causality hides it
    pairs       what blocks know about each pair of positions, such as the time between them
    attention   softmax attention, and learned biases of relative position and time
    *_block     attention and feed-forward net, one file for each kind of block
    encoder     inputs, blocks and a norm in a row; the item vectors are the item table

A model is a file in the folder above: settings, and a `build` that chooses parts.
"""
