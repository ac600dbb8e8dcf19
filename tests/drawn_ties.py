"""The order that a judge draws for equal scores, in plain integers."""


def key(window: int, item: int) -> int:
    """What decides between equal scores, the lowest first: the last steps of SplitMix64."""

    def mixed(value: int) -> int:
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            value = ((value ^ (value >> shift)) * factor) % 2**64
        return value

    drawn = mixed((mixed(window + 0x5EED) + item) % 2**64)
    return drawn - 2**64 if drawn >= 2**63 else drawn
