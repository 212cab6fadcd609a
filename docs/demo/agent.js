// An agent that learns in context, in several contexts side by side. Its ONNX model is one step as a function of tensors (docs/demo.py).

const ARRAYS = { int64: BigInt64Array, float32: Float32Array, float64: Float64Array };

/** Returns a source of uniform numbers in [0, 1): mulberry32. */
export function uniform(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Agent {
  /** ort: ONNX Runtime Web. model: bytes of the ONNX model, or their URL. temperature: scales the chance in its actions. */
  static async load(ort, model, temperature) {
    const agent = new Agent();
    Object.assign(agent, { ort, temperature, session: await ort.InferenceSession.create(model) });
    agent.contexts = agent.session.inputMetadata.find((input) => input.name === "observation").shape[0];
    agent.reset();
    return agent;
  }

  /** Empties all contexts. */
  reset() {
    this.state = {};
    for (const { name, type, shape } of this.session.inputMetadata) {
      const dims = shape.map((n) => (typeof n === "number" ? n : 0)); // what grows is empty
      this.state[name] = this.tensor(type, new ARRAYS[type](dims.reduce((a, b) => a * b, 1)), dims);
    }
    this.discrete = this.state.action.type === "int64";
  }

  tensor(type, data, dims) {
    return new this.ort.Tensor(type, data, dims);
  }

  /** Replaces an input, given as an array for each context. */
  set(name, rows) {
    const { type, dims } = this.state[name];
    const values = rows.flatMap((row) => [...row]);
    this.state[name] = this.tensor(type, ARRAYS[type].from(type === "int64" ? values.map(BigInt) : values), dims);
  }

  /** Sees an observation in each context, and returns each context's mean and log-deviation of the actions, or their logits. */
  async see(observations) {
    this.set("observation", observations);
    const out = await this.session.run(this.state);
    for (const name of this.session.inputNames) {
      if (`next_${name}` in out) this.state[name] = out[`next_${name}`];
    }
    const width = out.policy_mean.dims[1];
    const row = (tensor, i) => tensor.data.slice(i * width, (i + 1) * width);
    return observations.map((_, i) => ({ mean: row(out.policy_mean, i), logStd: row(out.policy_log_std, i) }));
  }

  /** Maps an observation of each context to an action of each: one integer, or several numbers, in an array. */
  async act(observations, random) {
    const actions = (await this.see(observations)).map(({ mean, logStd }) => {
      if (this.discrete) {
        const scores = mean.map((x) => x - this.temperature * Math.log(-Math.log(Math.max(random(), 1e-20))));
        return [scores.indexOf(Math.max(...scores))];
      }
      return mean.map((x, i) => x + this.temperature * Math.exp(logStd[i]) * normal(random));
    });
    this.set("action", actions);
    return actions;
  }

  /** Tells the rewards of the last actions, and which of them ended an episode, an array for each context. */
  observe(rewards, ends) {
    this.set("reward", rewards.map((x) => [x]));
    this.set("end", ends.map((x) => [Number(x)]));
  }
}

/** Returns a standard normal number, by Box and Muller. */
function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
