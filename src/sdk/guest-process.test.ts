/** Commands that are read from and typed to while they run, by the agent's own program on this machine. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { cannotRun, startAgent, type TestAgent } from '../monitor/agent/agent-for-tests.ts';
import { AgentServer } from '../monitor/agent/server.ts';
import { GuestProcess, type StartOptions } from './guest-process.ts';

describe('commands while they run', { skip: cannotRun }, () => {
  if (cannotRun) return;
  const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-process-'));
  let agent: TestAgent;
  let server: AgentServer;
  before(async () => {
    agent = startAgent();
    server = new AgentServer(agent.link);
    await server.listen(path.join(dir, 'agent.sock'));
  });
  after(() => {
    server.close();
    agent.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  const start = (command: string | string[], options: StartOptions = {}) =>
    GuestProcess.start(path.join(dir, 'agent.sock'), command, { folder: '/', ...options });
  const until = async (stream: Readable, what: RegExp): Promise<string> => {
    let text = '';
    for await (const bytes of stream.iterator({ destroyOnReturn: false })) {
      text += bytes;
      if (what.test(text)) return text;
    }
    throw new Error(`it ended before ${what} came: ${text}`);
  };
  const all = async (stream: Readable): Promise<string> => Buffer.concat(await stream.toArray()).toString();

  test('what is written is answered while it runs; output and errors are two streams; the end of input is the end', async () => {
    await using run = await start('while read line; do echo "[$line]"; echo "$line" >&2; done; exit 3');
    await run.write('one\n');
    assert.equal(await until(run.stdout, /\n/), '[one]\n');
    await run.write('two\n');
    run.end();
    assert.deepEqual(await Promise.all([all(run.stdout), all(run.stderr)]), ['[two]\n', 'one\ntwo\n']);
    assert.deepEqual(await run.exit, { code: 3, signal: 0, ok: false });
  });

  test('a terminal has a size and takes keys', async () => {
    await using run = await start(['sh'], { terminal: { columns: 100, rows: 30 } });
    await run.write('stty size\n');
    await until(run.stdout, /30 100\r\n/);
    run.resize(90, 20);
    await run.write('stty -echo; stty size; exec cat\n');
    await until(run.stdout, /20 90\r\n/);
    // A shell that waits for its next line would ignore the key: cat is there when it answers.
    await run.write('ready\n');
    await until(run.stdout, /ready\r\n/);
    await run.write('\x03');
    assert.deepEqual(await run.exit, { code: 0, signal: os.constants.signals.SIGINT, ok: false });
  });

  test('a reader that stops has the command wait, and gets all of it in the end', async () => {
    await using run = await start('seq 200000; echo done >&2');
    assert.ok(run.stdout.readableLength < 1 << 20);
    const text = await all(run.stdout);
    assert.deepEqual([text.length, text.slice(-7)], [1288895, '200000\n']);
    assert.deepEqual(await run.exit, { code: 0, signal: 0, ok: true });
  });

  test('a signal ends it; letting go of it does as well, and its streams end', async () => {
    const one = await start('sleep 1000');
    one.signal('SIGTERM');
    assert.deepEqual(await one.exit, { code: 0, signal: 15, ok: false });
    const two = await start('echo ready; sleep 1000');
    await until(two.stdout, /ready/);
    await two[Symbol.asyncDispose]();
    assert.equal(await all(two.stdout), '');
    await assert.rejects(two.exit, /^AgentError: /);
  });
});
