/** The agent's own executable on this machine instead of in a guest, joined with a link: the same program, the same frames. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { agentProgram } from '../../guest/agent/index.ts';
import type { AgentRequest } from '../../host/agent-link.ts';
import { AgentLink, type ExecRequest } from './link.ts';

export const cannotRun =
  process.platform === 'linux' && process.arch === 'x64' ? false : 'the agent is a program for Linux on x86-64';

export interface TestAgent {
  readonly link: AgentLink;
  readonly child: ChildProcess;
  readonly logged: string[];
  stop(): void;
}

export function startAgent(): TestAgent {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'domus-agent-'));
  const file = path.join(dir, 'agent');
  writeFileSync(file, agentProgram(), { mode: 0o755 });
  const child = spawn(file, ['-'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const logged: string[] = [];
  const link = new AgentLink({
    send: (bytes) => {
      child.stdin.write(bytes.slice());
      return bytes.length;
    },
    log: (_, text) => void logged.push(text),
  });
  child.stdout.on('data', (bytes) => link.receive(bytes));
  child.stdin.on('error', () => {});
  return {
    link,
    child,
    logged,
    stop() {
      child.kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export const request = (argv: readonly string[], more: Partial<ExecRequest> = {}): ExecRequest => ({
  argv,
  environment: ['PATH=/usr/bin:/bin', 'LANG=C'],
  folder: '/',
  ...more,
});

export type { AgentRequest };
