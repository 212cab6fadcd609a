"""Encodings: how steps become tokens, and how a model's output becomes a distribution over actions.

One file for each kind (``gla.encoding.kinds``). It holds ``Options`` and a class ``Encoding``, which is made from them.
Training windows and rollouts use the same class, so that a model meets the same tokens in both::

    sizes                             sizes of the parts of a token, and of a model's output (gla.encoding.tokens.Sizes)
    check(env_id, spec)               raises UnsupportedEnvironment, which names the limit, if it cannot hold the environment
    frames(seeds, n, spec)            the part that differs between contexts, such as projections: w for observations, a for actions
    seen()                            the state of empty contexts, such as running moments
    observe(x, frames, seen)          observations (B, T, d) to (B, T, sizes.observation)
    act(action, frames)               actions (B, T, a), or integers (B, T), to (B, T, sizes.action)
    reward(reward, seen)              rewards (B, T) to (B, T)
    distribution(output, a)           outputs (B, T, sizes.output) to means (or logits) and log-deviations (B, T, a)
    pad(x, value)                     (..., a) to (..., number of actions that it can hold)

``gla.encoding.projected`` describes each in detail. Only this folder knows the dimensions of tokens.
"""
