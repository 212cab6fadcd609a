// The page "See it learn": the reader sets a hidden goal, agents look for it, and their returns are drawn, episode by episode.

import * as ort from "./ort.wasm.min.mjs";
import { Agent, uniform } from "./agent.js";
import { GridWorld, PointMass } from "./environments.js";

const SVG = "http://www.w3.org/2000/svg";
const BOARD = 300, PLOT = { width: 420, height: 300, left: 48, right: 12, top: 14, bottom: 44 };
const PACES = { slow: 250, fast: 40, fastest: 0 }; // milliseconds that a step takes at least

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const page = (name) => document.getElementById(`demo-${name}`);

/** Adds an element to an SVG, and returns it. */
function draw(parent, tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

const isStart = (cell) => cell.every((v, i) => v === GridWorld.start[i]); // where no goal may lie
const onCircle = (angle) => [PointMass.radius * Math.cos(angle), PointMass.radius * Math.sin(angle)];

/** What differs between the environments: how many episodes are shown, where a click or an arrow key puts the goal, and what the board looks like. */
const TASKS = {
  grid: {
    Environment: GridWorld,
    episodes: 30,
    goal: [0, 2],
    axis: "goals reached per episode",
    range: () => [0, new GridWorld(goal).best],
    at([x, y]) {
      const cell = [y, x].map((v) => Math.max(0, Math.min(GridWorld.size - 1, Math.floor(v * GridWorld.size))));
      return isStart(cell) ? null : cell;
    },
    turned([row, column], [down, right]) {
      const size = GridWorld.size, cell = [(row + down + size) % size, (column + right + size) % size];
      return isStart(cell) ? this.turned(cell, [down, right]) : cell;
    },
    place: ([row, column]) => [(column + 0.5) / GridWorld.size, (row + 0.5) / GridWorld.size],
    ground(board) {
      const side = BOARD / GridWorld.size;
      for (let i = 0; i < GridWorld.size ** 2; i++) {
        const [x, y] = [(i % GridWorld.size) * side, Math.floor(i / GridWorld.size) * side];
        draw(board, "rect", { x: x + 2, y: y + 2, width: side - 4, height: side - 4, rx: 4, class: "cell" });
      }
    },
  },
  point_mass: {
    Environment: PointMass,
    episodes: 20,
    goal: [0, PointMass.radius],
    axis: "return per episode",
    range: () => [-25, 0],
    at: ([x, y]) => onCircle(Math.atan2(1 - 2 * y, 2 * x - 1)),
    turned: ([x, y], [down, right]) => onCircle(Math.atan2(y, x) - ((down + right) * Math.PI) / 8),
    place: ([x, y]) => [(1 + x) / 2, (1 - y) / 2],
    ground(board) {
      draw(board, "rect", { x: 2, y: 2, width: BOARD - 4, height: BOARD - 4, rx: 4, class: "cell" });
      const circle = { cx: BOARD / 2, cy: BOARD / 2, r: (PointMass.radius * BOARD) / 2 };
      draw(board, "circle", { ...circle, class: "ring" });
    },
  },
};

let task, goal, agent, runs;
let turn = 0, busy = false; // the number of the newest run, which ends the others; whether one is computing
const KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const loading = {}; // the promise of each task's agent

/** Empties the board, and draws the ground, the goal and the agents, which it returns. */
function drawBoard(positions) {
  const board = page("board");
  board.replaceChildren();
  task.ground(board);
  const [x, y] = task.place(goal).map((v) => v * BOARD);
  draw(board, "circle", { cx: x, cy: y, r: 15, class: "goal" });
  return positions.map((position, i) => {
    const dot = draw(board, "circle", { r: i ? 5 : 9, class: i ? "other" : "agent" });
    move(dot, position, i);
    return dot;
  });
}

/** Puts an agent's dot where it is. In a cell the agents stand in a ring, so that they do not hide each other. */
function move(dot, position, i) {
  const apart = task === TASKS.grid && i ? 26 : 0, angle = (2 * Math.PI * i) / (agent.contexts - 1);
  const [x, y] = task.place(position);
  dot.setAttribute("cx", x * BOARD + apart * Math.cos(angle));
  dot.setAttribute("cy", y * BOARD + apart * Math.sin(angle));
}

/** Draws the runs' returns by episode: the mean of all agents, with a standard error on each side. */
function drawReturns() {
  const plot = page("returns"), { width, height, left, right, top, bottom } = PLOT;
  plot.replaceChildren();
  const [low, high] = task.range(), last = task.episodes - 1;
  const x = (episode) => left + (episode / last) * (width - left - right);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);
  for (let k = 0; k <= 5; k++) {
    const value = low + ((high - low) * k) / 5;
    draw(plot, "line", { x1: left, x2: width - right, y1: y(value), y2: y(value), class: "rule" });
    draw(plot, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, +value.toFixed(1));
  }
  for (let episode = 1; episode <= task.episodes; episode += episode === 1 ? 4 : 5) {
    draw(plot, "text", { x: x(episode - 1), y: height - bottom + 16, "text-anchor": "middle" }, episode);
  }
  draw(plot, "text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, "episode");
  const turned = `rotate(-90 12 ${(top + height - bottom) / 2})`;
  draw(plot, "text", { x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: turned }, task.axis);
  runs.forEach((run, i) => {
    const kind = `${run.hidden ? "hidden" : "shown"}${i < runs.length - 1 ? " earlier" : ""}`;
    const edge = (sign) => run.means.map((m, e) => `${x(e)},${y(Math.min(high, Math.max(low, m + sign * run.errors[e])))}`);
    draw(plot, "polygon", { points: [...edge(1), ...edge(-1).reverse()].join(" "), class: `band ${kind}` });
    draw(plot, "polyline", { points: run.means.map((m, e) => `${x(e)},${y(m)}`).join(" "), class: `curve ${kind}` });
  });
}

function tell(run) {
  const { means, hidden } = run, n = means.length;
  const seen = hidden ? "with rewards hidden" : "with rewards shown";
  const value = n ? `mean return ${means[n - 1].toFixed(1)}, in the first episode ${means[0].toFixed(1)}` : "it begins";
  page("status").textContent = `Episode ${Math.max(1, n)} of ${task.episodes}, ${seen}: ${value}.`;
  if (n === task.episodes) page("said").textContent = page("status").textContent;
  Object.assign(page("returns").dataset, { means: JSON.stringify(means), run: turn });
}

/** Lets the agents act in empty contexts until their last episode, or until another run begins. */
async function run() {
  if (!agent) return;
  const own = ++turn;
  while (busy) await sleep(5); // the model computes one step at a time
  if (own !== turn) return;
  busy = true;
  try {
    await act(own);
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
  }
}

function fail(error) {
  page("status").textContent = page("said").textContent = `The demo cannot go on here: ${error.message}`;
  console.error(error);
}

async function act(own) {
  const hidden = !page("rewards").checked, current = { hidden, means: [], errors: [] };
  runs = [...runs.filter((run) => run.means.length === task.episodes).slice(-1), current];
  agent.reset();
  const random = uniform(Number(new URL(location).searchParams.get("seed") ?? Date.now()));
  const envs = Array.from({ length: agent.contexts }, () => new task.Environment(goal));
  let seen = envs.map((env) => env.reset(random));
  const dots = drawBoard(envs.map((env) => env.position));
  drawReturns();
  tell(current);
  for (let episode = 0; episode < task.episodes; episode++) {
    const total = envs.map(() => 0);
    for (let t = 1; t <= task.Environment.steps; t++) {
      const before = performance.now(), actions = await agent.act(seen, random);
      if (own !== turn) return;
      const rewards = envs.map((env, i) => {
        const [observation, reward] = env.step(actions[i]);
        seen[i] = observation;
        total[i] += reward;
        return reward;
      });
      agent.observe(rewards.map((r) => (hidden ? 0 : r)), rewards.map(() => t === task.Environment.steps));
      envs.forEach((env, i) => move(dots[i], env.position, i));
      const rest = PACES[page("pace").value] - (performance.now() - before);
      await sleep(rest);
      while (own === turn && page("pause").checked) await sleep(50);
      if (own !== turn) return;
    }
    seen = envs.map((env) => env.reset(random));
    const n = total.length, mean = total.reduce((a, b) => a + b) / n;
    const variance = total.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1);
    current.means.push(mean);
    current.errors.push(Math.sqrt(variance / n));
    drawReturns();
    tell(current);
  }
}

/** Loads the chosen task's agent if it is not there yet, and starts. */
async function choose() {
  const name = page("task").value;
  turn++;
  agent = null; // until the chosen one is there, so that nothing runs the other
  page("board").replaceChildren();
  page("returns").replaceChildren();
  page("returns").dataset.means = "[]";
  page("status").textContent = "The agent is being loaded.";
  try {
    const loaded = await (loading[name] ??= load(name));
    if (page("task").value !== name || agent) return;
    [task, agent, runs, goal] = [TASKS[name], loaded, [], TASKS[name].goal];
  } catch (error) {
    delete loading[name];
    return fail(error);
  }
  await run();
}

async function load(name) {
  const folder = new URL(".", import.meta.url), described = await fetch(new URL(`${name}.json`, folder));
  if (!described.ok) throw new Error(`${described.url}: ${described.status}`);
  return Agent.load(ort, new URL(`${name}.onnx`, folder).href, (await described.json()).temperature);
}

/** Moves the goal, unless there is no place for it. */
function set(place) {
  if (!place) return;
  goal = place;
  runs = []; // of another task
  run();
}

page("board").addEventListener("click", (event) => {
  if (!agent) return;
  const clicked = new DOMPoint(event.clientX, event.clientY).matrixTransform(page("board").getScreenCTM().inverse());
  set(task.at([clicked.x / BOARD, clicked.y / BOARD]));
});
page("board").addEventListener("keydown", (event) => {
  if (!agent || !(event.key in KEYS)) return;
  event.preventDefault();
  set(task.turned(goal, KEYS[event.key]));
});
page("task").addEventListener("change", choose);
page("rewards").addEventListener("change", run);
page("again").addEventListener("click", run);
page("pause").checked = matchMedia("(prefers-reduced-motion: reduce)").matches;
ort.env.wasm.wasmPaths = new URL(".", import.meta.url).href;
ort.env.wasm.numThreads = 1; // several need headers that a static site does not send
choose();
