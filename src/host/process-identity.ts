/**
 * Who a process is, beyond its number: numbers are used again, so a pid file also holds the moment the process started.
 * Linux tells it in /proc; elsewhere the number alone has to do.
 */
import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after boot (field 22 of /proc/PID/stat), or '' where there is no /proc. */
  readonly startTime: string;
}

/** Field 22 of a stat line. The command name before it may hold blanks and parentheses, so count from the last ")". */
export function startTimeOf(statLine: string): string {
  return statLine.slice(statLine.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}

/** Of a process that has ended: its first thread may be a zombie already while another still holds its files and locks. */
export function hasEnded(statLine: string): boolean {
  const fields = statLine.slice(statLine.lastIndexOf(')') + 2).split(' ');
  const [state, threads] = [fields[0], Number(fields[17])];
  return state === 'Z' && threads <= 1;
}

export function identify(pid: number): ProcessIdentity {
  try {
    return { pid, startTime: startTimeOf(readFileSync(`/proc/${pid}/stat`, 'latin1')) };
  } catch {
    return { pid, startTime: '' };
  }
}

/** Is exactly this process still there? One that has ended and that its parent has not asked about counts as gone. */
export function isAlive(who: ProcessIdentity): boolean {
  try {
    process.kill(who.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' && who.startTime === identify(who.pid).startTime;
  }
  try {
    const stat = readFileSync(`/proc/${who.pid}/stat`, 'latin1');
    if (hasEnded(stat)) return false;
    return who.startTime === '' || startTimeOf(stat) === who.startTime;
  } catch {
    return process.platform !== 'linux';
  }
}

/** Send a signal to exactly this process; false when it is gone. */
export function signal(who: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(who)) return false;
  try {
    process.kill(who.pid, name);
    return true;
  } catch {
    return false;
  }
}

/** Wait until the process is gone. Processes that are not our children give no event, so look from time to time. */
export async function waitGone(who: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  for (let pause = 5; isAlive(who); pause = Math.min(pause * 2, 100)) {
    if (Date.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return true;
}

export function readPidFile(file: string): ProcessIdentity | undefined {
  try {
    const [pid, startTime] = readFileSync(file, 'latin1').trim().split(/\s+/);
    return Number(pid) > 0 ? { pid: Number(pid), startTime: startTime ?? '' } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Make this process the owner of a pid file. Returns the living owner when there is one already. The file appears whole or
 * not at all (link), and a dead owner's file is moved away before it is judged, so two starters cannot both win.
 */
export function claimPidFile(file: string): ProcessIdentity | undefined {
  const me = identify(process.pid);
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${me.pid} ${me.startTime}\n`, { mode: 0o600 });
  try {
    for (;;) {
      try {
        linkSync(draft, file);
        return undefined;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const owner = readPidFile(file);
      if (owner && isAlive(owner)) return owner;
      const moved = `${draft}.old`;
      try {
        renameSync(file, moved);
      } catch {
        continue; // Somebody else moved it first: look again.
      }
      const judged = readPidFile(moved);
      if (judged && isAlive(judged)) {
        // Between our look and our move a new owner had taken it: give it back.
        renameSync(moved, file);
        return judged;
      }
      unlinkSync(moved);
    }
  } finally {
    try {
      unlinkSync(draft);
    } catch {
      // Already gone.
    }
  }
}
