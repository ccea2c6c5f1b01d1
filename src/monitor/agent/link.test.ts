import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { cannotRun, request, startAgent, type TestAgent } from './agent-for-tests.ts';
import { FrameType, makeFrame, u32 } from './frames.ts';
import { AgentLink, type ExecRequest, type Session } from './link.ts';

type Ended = { code: number; signal: number } | { why: string };

/** A command under way, with what it has printed. `window`: how much it may print without being read. */
function run(link: AgentLink, what: ExecRequest, window = 1 << 20) {
  let [out, err] = [Buffer.alloc(0), Buffer.alloc(0)];
  let changed = () => {};
  let drained = () => {};
  let ended: (how: Ended) => void = () => {};
  const exit = new Promise<Ended>((resolve) => {
    ended = resolve;
  });
  const session = link.exec(what, {
    output(stream, bytes) {
      if (stream === 'out') out = Buffer.concat([out, bytes]);
      else err = Buffer.concat([err, bytes]);
      if (window > 0) (session as Session).allow(bytes.length);
      changed();
    },
    drained: () => drained(),
    exit: (how) => ended(how),
  });
  if (typeof session === 'string') throw new Error(session);
  session.allow(window);
  return {
    session,
    exit,
    out: () => out.toString('latin1'),
    err: () => err.toString('latin1'),
    bytes: () => out,
    async until(text: string) {
      while (!out.includes(text)) await new Promise<void>((resolve) => (changed = resolve));
    },
    async feed(bytes: Uint8Array) {
      if (!session.send(bytes)) await new Promise<void>((resolve) => (drained = resolve));
    },
  };
}
const sh = (script: string, more: Partial<ExecRequest> = {}) => request(['sh', '-c', script], more);

describe('commands by the agent', { skip: cannotRun }, () => {
  if (cannotRun) return;
  let agent: TestAgent;
  const link = () => agent.link;
  before(async () => {
    agent = startAgent();
    assert.equal(await agent.link.wait(20_000, new AbortController().signal), true);
  });
  after(() => agent.stop());

  test('output, errors and the exit code come back apart', async () => {
    const one = run(link(), sh('echo out; echo err >&2; exit 3'));
    assert.deepEqual(await one.exit, { code: 3, signal: 0 });
    assert.deepEqual([one.out(), one.err()], ['out\n', 'err\n']);
  });

  test('arguments, variables and the folder are as they were given', async () => {
    const one = run(
      link(),
      request(['/bin/sh', '-c', 'printf "%s|" "$@" "$GREETING" "$PWD" "$PATH"', 'sh', 'a b', '', "c'd"], {
        environment: ['GREETING=good day', 'PATH=/bin'],
        folder: '/usr',
      }),
    );
    await one.exit;
    assert.equal(one.out(), "a b||c'd|good day|/usr|/bin|");
  });

  test('what cannot be run ends with the codes that a shell gives', async () => {
    const cases: [ExecRequest, number, RegExp][] = [
      [request(['no-such-program']), 127, /^no-such-program: not found\n$/],
      [request(['/no/such/program']), 127, /not found/],
      [request(['/etc']), 126, /^\/etc: cannot be run\n$/],
      [request(['true'], { folder: '/no/such/folder' }), 126, /^\/no\/such\/folder: no such folder\n$/],
    ];
    for (const [what, code, says] of cases) {
      const one = run(link(), what);
      assert.deepEqual(await one.exit, { code, signal: 0 });
      assert.match(one.err(), says);
    }
  });

  test('a signal reaches the command and its children, and is told when it was the end', async () => {
    const one = run(link(), sh('trap "echo caught; exit 7" INT; echo ready; while :; do sleep 0.05; done'));
    await one.until('ready');
    one.session.signal(2);
    assert.deepEqual(await one.exit, { code: 7, signal: 0 });
    const two = run(link(), sh('echo ready; sleep 1000'));
    await two.until('ready');
    two.session.signal(15);
    assert.deepEqual(await two.exit, { code: 0, signal: 15 });
  });

  test('a signal reaches a command that has only just begun', async () => {
    for (let round = 0; round < 20; round++) {
      const one = run(link(), sh('sleep 1000'));
      one.session.signal(9);
      assert.deepEqual(await one.exit, { code: 0, signal: 9 });
    }
  });

  test('input and output of many commands at once are not mixed, cut or lost', async () => {
    const commands = Array.from({ length: 12 }, (_, i) => {
      const bytes = new Uint8Array(200_000 + i * 777);
      let state = i + 1;
      for (let k = 0; k < bytes.length; k++) bytes[k] = (state = (state * 1103515245 + 12345) & 0x7fffffff) >> 16;
      return { bytes, one: run(link(), request(['cat']), 10_000) };
    });
    await Promise.all(
      commands.map(async ({ bytes, one }) => {
        for (let at = 0; at < bytes.length; at += 50_000) await one.feed(bytes.subarray(at, at + 50_000));
        one.session.end();
        assert.deepEqual(await one.exit, { code: 0, signal: 0 });
        assert.ok(one.bytes().equals(bytes));
      }),
    );
  });

  test('a command whose output nobody reads, or that reads no input, holds up no other', async () => {
    const stuck = run(link(), sh('yes'), 0);
    const deaf = run(link(), sh('sleep 1000'));
    assert.equal(deaf.session.send(new Uint8Array(1 << 20)), false);
    const other = run(link(), sh('echo alive'));
    assert.deepEqual(await other.exit, { code: 0, signal: 0 });
    assert.equal(other.out(), 'alive\n');
    assert.equal(stuck.out(), '');
    for (const one of [stuck, deaf]) {
      one.session.signal(9);
      stuck.session.allow(1 << 20);
      assert.deepEqual(await one.exit, { code: 0, signal: 9 });
    }
    assert.ok(stuck.out().length <= 1 << 20);
  });

  test('the end of a command is the end, whatever it left in the background', async () => {
    const one = run(link(), sh('sleep 1000 & echo $!'));
    assert.deepEqual(await one.exit, { code: 0, signal: 0 });
    process.kill(Number(one.out()), 'SIGKILL');
  });

  test('a command that closes its input is sent no more, and its writer is not kept waiting', async () => {
    const one = run(link(), sh('exec <&-; echo closed; read line <&2; sleep 0.2'));
    await one.until('closed');
    for (let i = 0; i < 20; i++) await one.feed(new Uint8Array(10_000));
    assert.deepEqual(await one.exit, { code: 0, signal: 0 });
  });

  test('a terminal has a size, tells of another one, and passes signals from the keyboard', async () => {
    const one = run(
      link(),
      sh('tty; stty size; trap "stty size; echo changed" WINCH; echo ready; while :; do sleep 0.05; done', {
        terminal: { columns: 132, rows: 50 },
      }),
    );
    await one.until('ready');
    assert.match(one.out(), /^\/dev\/pts\/\d+\r\n50 132\r\n/);
    one.session.resize({ columns: 90, rows: 20 });
    await one.until('20 90\r\nchanged');
    one.session.send(new TextEncoder().encode('\x03'));
    assert.deepEqual(await one.exit, { code: 0, signal: 2 });
  });

  test('a command that is given up gets a hang-up', async () => {
    const one = run(link(), sh('echo $$; exec sleep 1000'));
    await one.until('\n');
    link().abandon(one.session);
    const pid = Number(one.out());
    for (let alive = true; alive; ) {
      try {
        process.kill(pid, 0);
        await new Promise((resolve) => setTimeout(resolve, 5));
      } catch {
        alive = false;
      }
    }
  });

  test('it refuses more commands than it can run, and can run some again afterwards', async () => {
    const all = Array.from({ length: 32 }, () => run(link(), request(['cat'])));
    assert.throws(() => run(link(), request(['true'])), /runs 32 commands already/);
    for (const one of all) one.session.end();
    for (const one of all) assert.deepEqual(await one.exit, { code: 0, signal: 0 });
    assert.deepEqual(await run(link(), request(['true'])).exit, { code: 0, signal: 0 });
    assert.throws(() => run(link(), request(['true', 'x\0y'])), /NUL/);
    assert.throws(() => run(link(), request(['true', 'x'.repeat(70_000)])), /more than 65535 bytes/);
  });

  test('bytes on the channel that are no frame are passed over', async () => {
    agent.child.stdin!.write(new Uint8Array(1000).fill(0xd5));
    agent.child.stdin!.write('rubbish');
    agent.child.stdin!.write(makeFrame(FrameType.Exec, 5, new Uint8Array(3)));
    agent.child.stdin!.write(makeFrame(99, 1));
    assert.deepEqual(await run(link(), sh('exit 4')).exit, { code: 4, signal: 0 });
  });
});

/** A link whose other side is the test. */
function scripted() {
  const sent: Uint8Array[] = [];
  const logged: string[] = [];
  const link = new AgentLink({
    send: (bytes) => {
      sent.push(bytes.slice());
      return bytes.length;
    },
    log: (_, text) => void logged.push(text),
  });
  const hello = (version = 1, sessions = 2, window = 16384) =>
    link.receive(makeFrame(FrameType.Hello, 0, Uint8Array.of(version, sessions, ...u32(window))));
  return { link, sent, logged, hello };
}

test('an agent that breaks the rules is told to begin anew, and its commands end with a reason', async () => {
  const crimes: [string, (session: number) => Uint8Array][] = [
    ['more output than allowed', (id) => makeFrame(FrameType.Output, id, new Uint8Array(1001))],
    ['more credit than was used', (id) => makeFrame(FrameType.Credit, id, u32(1))],
    ['credit that is none', (id) => makeFrame(FrameType.Credit, id, new Uint8Array(3))],
    ['a frame that nobody knows', (id) => makeFrame(77, id)],
  ];
  for (const [crime, frame] of crimes) {
    const { link, sent, logged, hello } = scripted();
    hello();
    const one = run(link, request(['true']), 1000);
    link.receive(frame(one.session.id));
    assert.deepEqual(await one.exit, { why: 'the agent in the guest is out of order' }, crime);
    assert.equal(link.present, false);
    assert.equal(sent.at(-1)![1], FrameType.Reset);
    assert.equal(logged.length, 1);
    hello();
    assert.equal(link.present, true, 'it may come back');
  }
});

test('a hello that makes no sense is none', () => {
  for (const [version, sessions, window] of [
    [0, 2, 16384],
    [1, 0, 16384],
    [1, 2, 0],
    [1, 2, 0x7fffffff],
  ] as const) {
    const { link, hello } = scripted();
    hello(version, sessions, window);
    assert.equal(link.present, false);
  }
});

test('frames are found again in any bytes, in any pieces, and nothing grows meanwhile', () => {
  const { link, hello } = scripted();
  let seed = 1;
  const random = (n: number) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
  for (let round = 0; round < 300; round++) {
    const noise = Uint8Array.from({ length: random(3000) }, () => (random(4) === 0 ? 0xd5 : random(256)));
    link.receive(noise);
  }
  link.receive(new Uint8Array(70_000)); // Whatever half a frame the noise ended with is complete now.
  hello();
  assert.equal(link.present, true, 'seed 1');
});

test('a closed channel ends commands and forgets what was to be sent', async () => {
  const { link, hello } = scripted();
  hello();
  const one = run(link, request(['true']));
  link.changed();
  assert.deepEqual(await one.exit, { why: "the guest's end of the agent's channel was closed" });
  assert.equal(link.present, false);
  assert.equal(await link.wait(0, new AbortController().signal), false);
});
