/**
 * Has machine code made of the regions that domains leave behind (host/regions/kept.ts): by a process of the lowest priority, one at a
 * time, as soon as nothing new has come for a while. Only speed depends on it: whatever fails is tried again when there is more.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { type FSWatcher, mkdirSync, watch } from 'node:fs';
import { monitorFlags } from './monitor-link.ts';
import { monitorProgram } from './monitor-program.ts';

/** A guest that boots or begins a program has new regions several times a second. */
const QUIET_MS = 1500;
/** Regions, and what is wanted (host/regions/kept-files.ts). */
const FILES = /\.(regions|wanted)$/;
/** What takes longer goes wrong; the next child begins with something else. */
const CHILD_MS = 600_000;

export class RegionCompiler {
  readonly #folder: string;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #child: ChildProcess | undefined;
  /** There is something new since the child was started. */
  #more = false;

  constructor(folder: string) {
    this.#folder = folder;
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      this.#watcher = watch(folder, (_, name) => {
        if (name !== null && FILES.test(name)) this.#soon();
      });
      this.#watcher.on('error', () => this.stop());
      this.#watcher.unref();
    } catch {
      return;
    }
    this.#soon();
  }

  stop(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    clearTimeout(this.#timer);
    this.#child?.kill('SIGKILL');
  }

  #soon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#compile(), QUIET_MS).unref();
  }

  #compile(): void {
    this.#more = this.#child !== undefined;
    if (this.#more || this.#watcher === undefined) return;
    const child = spawn(process.execPath, [...monitorFlags(), monitorProgram(), '--compile', this.#folder], {
      cwd: '/',
      // Its end of the pipe closes with this process, however that ends.
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#child = child;
    child.unref();
    const limit = setTimeout(() => child.kill('SIGKILL'), CHILD_MS).unref();
    const ended = (): void => {
      clearTimeout(limit);
      if (this.#child !== child) return;
      this.#child = undefined;
      if (this.#more) this.#soon();
    };
    child.once('exit', ended).once('error', ended);
  }
}
