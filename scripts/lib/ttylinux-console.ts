/** Someone at ttylinux's console: waits for the login prompt, logs in, types commands and reads what they answer. */
import { ConsoleDriver } from './console-driver.ts';
import type { OwnXend } from './own-xend.ts';

export interface Patience {
  /** Seconds until the login prompt. */
  readonly loginS: number;
  /** For everything that is typed. */
  readonly stepS: number;
}

/** Generous: the machine may be slow and busy with other things. */
const PATIENCE: Patience = { loginS: 300, stepS: 60 };
/** Something may have been printed behind it already. */
const PROMPT = /root@ttylinux:\S*# /;

export class TtylinuxConsole {
  readonly driver: ConsoleDriver;
  readonly #begun = performance.now();
  readonly #patience: Patience;

  /** `args` of xm: `create -c FILE`, or `console NAME`. */
  constructor(xend: OwnXend, args: readonly string[], show?: (text: string) => void, patience: Patience = PATIENCE) {
    this.#patience = patience;
    this.driver = new ConsoleDriver(xend.spawn('xm', args, { stdio: ['pipe', 'pipe', 'pipe'] }), show);
  }

  /** Waits for the login prompt; seconds since this console was opened. */
  async booted(): Promise<number> {
    await this.driver.until(/ttylinux login: /, this.#patience.loginS);
    return (performance.now() - this.#begun) / 1000;
  }

  async logIn(): Promise<void> {
    this.driver.type('root\n');
    await this.driver.until(/Password: /, this.#patience.stepS);
    this.driver.type('root\n');
    await this.driver.until(PROMPT, this.#patience.stepS);
    // The kernel's messages would come between a command and its output; and a shell that edits its line breaks it at the
    // terminal's width, 80 columns where nobody says otherwise.
    await this.run('dmesg -n 1; stty columns 500');
  }

  /** Types a command at the shell; returns what it printed. */
  async run(command: string): Promise<string> {
    this.driver.type(`${command}\n`);
    const lines = (await this.driver.until(PROMPT, this.#patience.stepS)).replace(PROMPT, '').split('\n');
    // Echoed by the shell, and before that by the terminal when the shell was not ready for it yet.
    while (lines[0]?.endsWith(command)) lines.shift();
    return lines.join('\n');
  }

  ended(): Promise<void> {
    return this.driver.ended(this.#patience.stepS);
  }
}
