// Reads one JSON object from standard input, and writes another: what the demo's environments and agents do with it.
//   {environment, goal, start, position, actions}      -> [[observation, reward], ...] of one environment
//   {model, observations, actions, rewards, ends}      -> [{mean, logStd}, ...] of all contexts, by step; the second time after a reset
//   {mean, logStd, discrete, temperature, draws}       -> actions that are drawn from one distribution
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const asked = JSON.parse(readFileSync(0, "utf8")), demo = pathToFileURL(`${process.argv[2]}/`);
const plain = (x) => [...x].map(Number);

if (asked.model) {
  const ort = await import(new URL("node_modules/onnxruntime-web/dist/ort.node.min.mjs", demo));
  const { Agent } = await import(new URL("agent.js", demo));
  const agent = await Agent.load(ort, readFileSync(asked.model), 1);
  const out = [];
  for (let time = 0; time < 2; time++) {
    agent.reset();
    for (const [t, observations] of asked.observations.entries()) {
      out.push((await agent.see(observations)).map(({ mean, logStd }) => ({ mean: plain(mean), logStd: plain(logStd) })));
      agent.set("action", asked.actions[t]);
      agent.observe(asked.rewards[t], asked.ends[t]);
    }
  }
  console.log(JSON.stringify(out));
} else if (asked.draws) {
  const { Agent, uniform } = await import(new URL("agent.js", demo));
  const one = { mean: Float32Array.from(asked.mean), logStd: Float32Array.from(asked.logStd) };
  const agent = Object.assign(new Agent(), asked, { see: () => Array(asked.draws).fill(one), set() {} });
  console.log(JSON.stringify((await agent.act([], uniform(0))).map(plain)));
} else {
  const env = new (await import(new URL("environments.js", demo)))[asked.environment](asked.goal, asked.start);
  env.reset(() => 0.5);
  if (asked.position) env.position = asked.position;
  const out = asked.actions.map((action) => env.step(action));
  console.log(JSON.stringify(out.map(([observation, reward]) => [plain(observation), reward])));
}
