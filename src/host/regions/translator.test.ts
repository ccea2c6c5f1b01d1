/** Regions that are made while the guest runs on: they come late, or to code that has changed meanwhile, or in another thread. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { type MessagePort, Worker } from 'node:worker_threads';
import type { RegionOrder } from '../../translate/region/index.ts';
import { CODE, TestMachine } from '../../translate/region/machine-for-tests.ts';
import {
  CALLERS_BEGIN,
  callers,
  loops,
  type Program,
  randomProgram,
} from '../../translate/region/program-for-tests.ts';
import { Exit } from '../../x86/exits.ts';
import { GPR } from '../../x86/state.ts';
import { makeModule, type OrderedModule, type RegionTranslator, TranslatorThread } from './translator.ts';

/** Makes everything, and gives it away when `isMade`. */
class LateTranslator implements RegionTranslator {
  readonly orders: (readonly RegionOrder[])[] = [];
  readonly #isMade: () => boolean;
  readonly #hurries: () => boolean;

  /** `hurries`: there is no time to plan more than one thing. */
  constructor(isMade: () => boolean, hurries = () => false) {
    this.#isMade = isMade;
    this.#hurries = hurries;
  }
  get planningMs(): number {
    return this.#hurries() ? 0 : Number.POSITIVE_INFINITY;
  }
  isReady(): boolean {
    return true;
  }
  order(cpu: number, regions: readonly RegionOrder[]): OrderedModule {
    this.orders.push(regions);
    const made = makeModule(cpu, regions);
    const isMade = this.#isMade;
    return {
      get made() {
        return isMade() ? made : undefined;
      },
    };
  }
}

const NUMBERS = Array.from({ length: 16 }, (_, k) => k + 1);
const SUM = 100n * 136n;
const THRESHOLD = 20;
/** Branches of a slice: a loop has a hundred. */
const slices = (): number => 7;

function run(machine: TestMachine, { code, registers, flags }: Program, budget: () => number): unknown {
  machine.load(code, registers, flags);
  const exit = machine.run(budget);
  return { exit, ...machine.state };
}

test('programs of chance come to the same end, however late their regions come', () => {
  const interpreter = new TestMachine(0);
  let asked = 0;
  const translator = new LateTranslator(() => ++asked % 5 === 0);
  const machine = new TestMachine(1, false, { translator });
  for (let seed = 7001; seed < 7081; seed++) {
    const program = randomProgram(seed, { faults: seed % 2 === 1 });
    const budget = (): number => 2 + (seed % 11);
    assert.deepEqual(run(machine, program, budget), run(interpreter, program, budget), `seed ${seed}`);
  }
  assert.ok(machine.engine.statistics.regions > 80, `${machine.engine.statistics.regions} regions`);
});

test('the guest runs on meanwhile, and nothing is ordered twice', () => {
  const translator = new LateTranslator(() => false);
  const machine = new TestMachine(THRESHOLD, false, { translator });
  assert.equal((run(machine, loops(NUMBERS), slices) as { exit: Exit }).exit, Exit.Syscall);
  assert.equal(machine.gpr(GPR.rax), SUM);
  const bytes = translator.orders.flat().map((order) => Buffer.from(order.bytes).toString('hex'));
  assert.ok(bytes.length > 0);
  assert.deepEqual(bytes, [...new Set(bytes)]);
  assert.equal(machine.engine.statistics.regions, 0);
});

test('what is hot at the same time is ordered together, or one by one at the end of each slice when there is no time for more', () => {
  /** How many regions each order has. */
  const ordered = (hurries: boolean): number[] => {
    const translator = new LateTranslator(
      () => false,
      () => hurries,
    );
    const machine = new TestMachine(THRESHOLD, false, { translator });
    // Three loops, each with a SYSCALL behind it, and one that goes on from slice to slice.
    const programs = [1, 2, 3, 4].map((number, k) => loops([number], 0x80 * k));
    const { code, ...last } = programs.at(-1)!;
    for (const [k, program] of programs.entries()) code.set(program.code.subarray(0x80 * k), 0x80 * k);
    machine.load(code, last.registers, last.flags);
    for (let k = 0; k < 4; k++) {
      machine.goto(CODE + 0x80 * k);
      assert.equal(machine.run(k < 3 ? () => 1000 : slices), Exit.Syscall);
    }
    return translator.orders.map(({ length }) => length);
  };
  assert.deepEqual(ordered(false), [3, 1]);
  assert.deepEqual(ordered(true), [1, 1, 1, 1]);
});

test('what is joined is planned step by step at the ends of slices when there is no time for more', () => {
  const { code, registers, flags } = callers(120_000);
  const joining = (hurries: boolean): number => {
    let asked = 0;
    const translator = new LateTranslator(
      () => true,
      () => {
        if (machine.engine.statistics.regions < 2) return false;
        asked++;
        return hurries;
      },
    );
    const machine = new TestMachine(THRESHOLD, false, { translator });
    machine.load(code, registers, flags);
    machine.goto(CODE + CALLERS_BEGIN);
    let count = 0;
    const budget = (): number => (count++ < 20 ? 30 : 3000) + (count % 3);
    assert.equal(machine.run(budget), Exit.Syscall);
    assert.equal(machine.gpr(GPR.rax), 40n * 120_060n);
    assert.equal(machine.engine.statistics.regionsJoined, 1);
    return asked;
  };
  assert.ok(joining(true) > joining(false));
});

test('of what waits for the translator, what control has come to most often is ordered first', () => {
  let isReady = false;
  class BusyTranslator extends LateTranslator {
    override isReady(): boolean {
      return isReady;
    }
  }
  const translator = new BusyTranslator(
    () => false,
    () => true,
  );
  const machine = new TestMachine(THRESHOLD, false, { translator });
  const programs = [1, 2, 3].map((number, k) => loops([number], 0x80 * k));
  const { code, ...last } = programs.at(-1)!;
  for (const [k, program] of programs.entries()) code.set(program.code.subarray(0x80 * k), 0x80 * k);
  machine.load(code, last.registers, last.flags);
  const runLoop = (k: number, times: number): void => {
    for (let n = 0; n < times; n++) {
      machine.goto(CODE + 0x80 * k);
      assert.equal(machine.run(slices), Exit.Syscall);
    }
  };
  [1, 3, 2].forEach((times, k) => {
    runLoop(k, times);
  });
  isReady = true;
  runLoop(0, 1);
  const ordered = translator.orders.flat().map(({ name }) => Number(`0x${name.split(' ')[1]!}`) - CODE);
  assert.deepEqual(
    ordered.map((offset) => Math.floor(offset / 0x80)),
    [1, 2, 0],
  );
});

test('what was ordered of code that has changed since is not run', () => {
  let isMade = false;
  const translator = new LateTranslator(() => isMade);
  const machine = new TestMachine(THRESHOLD, false, { translator });
  run(machine, loops([1]), slices);
  assert.equal(machine.gpr(GPR.rax), 100n);
  assert.equal(translator.orders.length, 1);
  isMade = true;
  run(machine, loops([2]), slices);
  assert.equal(machine.gpr(GPR.rax), 200n);
});

test('a thread makes what is ordered, begins anew after a rest, and ends with its user', async () => {
  const workers: Worker[] = [];
  const start = (port: MessagePort): void => {
    const url = new URL('../../monitor/translator-worker.ts', import.meta.url);
    workers.push(new Worker(url, { workerData: port, transferList: [port] }));
  };
  const translator = new TranslatorThread(start);
  const machine = new TestMachine(THRESHOLD, false, { translator });
  for (const numbers of [NUMBERS, NUMBERS.map((n) => n + 1)]) {
    const before = machine.engine.statistics.regions;
    const program = loops(numbers);
    let rounds = 0;
    for (; machine.engine.statistics.regions === before && rounds < 10_000; rounds++) {
      if (rounds === 0) run(machine, program, slices);
      else {
        machine.goto(CODE);
        assert.equal(machine.run(slices), Exit.Syscall);
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.ok(rounds < 10_000, 'nothing was made');
    assert.equal(machine.gpr(GPR.rax), BigInt(rounds) * BigInt(100 * numbers.reduce((sum, n) => sum + n)));
    const nowhere = translator.load({ file: '/nowhere/1.regions', bodyHash: new Uint8Array(32) });
    while (nowhere.loaded === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.equal(nowhere.loaded, false);
    const ended = once(workers.at(-1)!, 'exit');
    translator.end();
    await ended;
  }
  assert.equal(workers.length, 2);
});

test('what is hot in a guest that hardly runs is not ordered, with a thread or without; in a busy one it is', () => {
  let now = 0;
  const ports: MessagePort[] = [];
  const translator = new TranslatorThread(
    (port) => ports.push(port),
    () => now,
  );
  /** How often it is ready when it is asked `times`, so many milliseconds apart. */
  const ready = (times: number, ms: number): number => {
    let count = 0;
    for (let k = 0; k < times; k++) {
      now += ms;
      if (translator.isReady()) count++;
    }
    return count;
  };
  assert.equal(ready(1000, 100), 0);
  assert.ok(ready(20, 2) > 0);
  translator.order(0, []);
  now += 5000;
  assert.equal(ready(1000, 500), 0);
  assert.ok(ready(5, 2) > 0);
  translator.end();
  for (const port of ports) port.close();
});
