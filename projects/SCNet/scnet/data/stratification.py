"""Dividing examples with several labels each, so that every part has its share of each label.

This is the iterative stratification of Sechidis, Tsoumakas and Vlahavas (On the Stratification of
Multi-Label Data, ECML PKDD 2011): the label with the fewest examples left is divided first, as it
leaves the least choice, and each of its examples goes to the part that lacks most of it. Examples
without labels come last, and fill the parts up.
"""

import random
from collections import defaultdict
from typing import Dict, Hashable, List, Sequence


def stratify(
    labels: Sequence[Sequence[Hashable]], shares: Sequence[float], seed: int = 0
) -> List[int]:
    """Divide examples among parts.

    Args:
        labels: of each example, each label once.
        shares: of each part, which add up to 1.
        seed: of the order in which examples with the same labels are dealt.

    Returns:
        for each example the number of its part; the same for the same arguments.
    """
    members: Dict[Hashable, List[int]] = defaultdict(list)
    order = random.Random(seed).sample(range(len(labels)), len(labels))
    for k in order:
        for label in labels[k]:
            members[label].append(k)
    left = {label: len(examples) for label, examples in members.items()}
    lacking = {label: [n * share for share in shares] for label, n in left.items()}
    room = [len(labels) * share for share in shares]
    parts = [-1] * len(labels)
    while members:
        rarest = min(members, key=left.__getitem__)
        for k in members.pop(rarest):
            if parts[k] >= 0:
                continue
            part = max(range(len(shares)), key=lambda j: (lacking[rarest][j], room[j]))
            parts[k] = part
            room[part] -= 1
            for label in labels[k]:
                left[label] -= 1
                lacking[label][part] -= 1
    for k in order:
        if not labels[k]:
            parts[k] = max(range(len(shares)), key=room.__getitem__)
            room[parts[k]] -= 1
    return parts
