/**
 * A systemd of a test's own, process 1 of new namespaces: it sees the machine's files, its units are those of a folder, its
 * cgroups are below the test's, and all that it started ends with the test.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { signal } from '../../src/host/process-identity.ts';
import { eventually } from './mortal-xend.ts';

const SYSTEMD = '/usr/lib/systemd/systemd';
const NAMESPACES = ['--mount', '--pid', '--cgroup', '--uts', '--ipc', '--net'];
/** What the units of services name, empty: nothing of this machine is started a second time. */
const TARGETS = ['sysinit', 'basic', 'shutdown', 'local-fs', 'remote-fs', 'network', 'network-online', 'multi-user'];

/** Process 1. The old /proc still tells its number outside. /etc and the kernel's settings are not for it to change. */
const INSIDE = `set -e
read -r pid rest </proc/self/stat
echo $pid >"$1/pid"
umount "$1/cgroup"
mount -t proc proc /proc
for tree in /etc /proc/sys; do mount --bind $tree $tree; mount -o remount,bind,ro $tree; done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env -i "PATH=$PATH" container=test "SYSTEMD_UNIT_PATH=$1/units" "SYSTEMD_GENERATOR_PATH=$1/none" \\
  ${SYSTEMD} --system --log-target=console --log-level=notice --show-status=no`;

/** Makes the cgroup, through a mount that nobody else sees, and takes it away when all is over. */
const OUTSIDE = `set -e
mount --make-rprivate /
mkdir "$1/cgroup"
mount -t cgroup2 cgroup2 "$1/cgroup"
parent=$1/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)
own=$parent/$(basename "$1")
mkdir "$own"
echo $$ >"$own/cgroup.procs"
setpriv --pdeathsig KILL unshare ${NAMESPACES.join(' ')} --fork --kill-child=KILL sh -c "$2" sh "$1" || true
echo $$ >"$parent/cgroup.procs"
find "$own" -depth -type d -exec rmdir {} +`;

/** Why there can be none here, in one line; false when there can. */
export function noPrivateSystemd(): string | false {
  const why = (reason: string) => `no systemd of a test's own: ${reason}`;
  if (!existsSync(SYSTEMD)) return why(`there is no ${SYSTEMD}`);
  const mount = ['mount', '-t', 'cgroup2', 'cgroup2', '/mnt'];
  const probe = spawnSync('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...NAMESPACES, '--fork', ...mount], {
    encoding: 'utf8',
  });
  if (probe.error) return why(probe.error.message);
  return probe.status === 0 ? false : why(probe.stderr.trim().split('\n')[0]!);
}

export interface Told {
  readonly code: number;
  readonly said: string;
}

export class PrivateSystemd {
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #said = '';

  /** Begins to run with the units that `write` puts into a folder below this one. */
  constructor(folder: string, units: Record<string, string>) {
    this.#folder = folder;
    const unit = (name: string, text: string) => {
      const file = path.join(folder, 'units', name);
      mkdirSync(path.dirname(file), { recursive: true });
      writeFileSync(file, text);
    };
    for (const name of TARGETS) unit(`${name}.target`, '[Unit]\nDefaultDependencies=no\n');
    unit('default.target', '[Unit]\nDefaultDependencies=no\nWants=ready.service\n');
    unit('ready.service', `[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/touch ${folder}/ready\n`);
    for (const [name, text] of Object.entries(units)) unit(name, text);
    this.#child = spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', 'unshare', '--mount', 'sh', '-c', OUTSIDE, 'sh', folder, INSIDE],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.setEncoding('utf8').on('data', (text) => (this.#said += text));
    this.#ended = once(this.#child, 'close');
  }

  async ready(): Promise<void> {
    await eventually(() => {
      if (this.#child.exitCode !== null) throw new Error(`systemd has ended: ${this.#said}`);
      return existsSync(path.join(this.#folder, 'ready'));
    }, 'systemd has started');
  }

  get #pid(): string {
    return readFileSync(path.join(this.#folder, 'pid'), 'utf8').trim();
  }

  /** Run a command beside the services. */
  async run(...command: string[]): Promise<Told> {
    const child = spawn('nsenter', ['--target', this.#pid, ...NAMESPACES, ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (said += text));
    const [code] = (await once(child, 'exit')) as [number];
    return { code, said };
  }

  /** What systemd knows of a unit at one moment: NAME=VALUE of each, sorted. */
  async show(unit: string, ...names: string[]): Promise<string[]> {
    const { said } = await this.run('systemctl', 'show', '--property', names.join(','), unit);
    return said.trim().split('\n').sort();
  }

  async end(): Promise<void> {
    const file = path.join(this.#folder, 'pid');
    if (existsSync(file)) signal({ pid: Number(this.#pid), startTime: '' }, 'SIGKILL');
    await this.#ended;
  }
}
