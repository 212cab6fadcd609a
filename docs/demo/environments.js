// The environments of gla.environments.grid_world and gla.environments.point_mass. tests/site compares them with these, step by step.

const clip = (x, low, high) => Math.min(high, Math.max(low, x));
const MOVES = [[-1, 0], [0, 1], [1, 0], [0, -1]]; // up, right, down, left

/** Walk to a hidden goal. Reaching it pays 1 and puts the agent back on the start. */
export class GridWorld {
  static steps = 10; // of an episode
  static size = 3;
  static start = [1, 1];

  constructor(goal, start = GridWorld.start) {
    this.goal = goal;
    this.start = start;
  }

  reset() {
    this.position = [...this.start];
    return this.observation();
  }

  observation() {
    const oneHot = new Float32Array(GridWorld.size ** 2);
    oneHot[this.position[0] * GridWorld.size + this.position[1]] = 1;
    return oneHot;
  }

  /** Takes action 0 to 3, and returns the next observation and the reward. */
  step([action]) {
    this.position = this.position.map((x, i) => clip(x + MOVES[action][i], 0, GridWorld.size - 1));
    const reached = this.position.every((x, i) => x === this.goal[i]);
    if (reached) this.position = [...this.start];
    return [this.observation(), Number(reached)];
  }

  /** The return of an episode of shortest paths. */
  get best() {
    return Math.floor(GridWorld.steps / this.goal.reduce((sum, x, i) => sum + Math.abs(x - this.start[i]), 0));
  }
}

/** Move towards a hidden goal in the plane. Each step pays minus the distance to it. */
export class PointMass {
  static steps = 20;
  static step = 0.25; // length of the largest move along each axis
  static radius = 0.75; // distance of the goal from the centre

  constructor(goal) {
    this.goal = goal;
  }

  /** random: returns uniform numbers in [0, 1). */
  reset(random) {
    this.position = [0, 1].map(() => (random() - 0.5) / 2);
    return this.observation();
  }

  observation() {
    return Float32Array.from(this.position);
  }

  /** Takes two numbers, and returns the next observation and the reward. */
  step(action) {
    this.position = this.position.map((x, i) => clip(x + PointMass.step * clip(action[i], -1, 1), -1, 1));
    return [this.observation(), -Math.hypot(...this.position.map((x, i) => x - this.goal[i]))];
  }
}
