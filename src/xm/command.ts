/**
 * A command is a value: its help, its options and what it does. Parsing, printing of errors and exit codes belong to the
 * runner (main.ts).
 */
import type { ParseArgsOptionDescriptor } from 'node:util';
import type { Paths } from '../host/paths.ts';
import type { XendClient } from '../sdk/client.ts';

export interface Option extends ParseArgsOptionDescriptor {
  readonly help: string;
  /** What stands for the value in the help. */
  readonly value?: string;
}

export interface Context {
  readonly args: readonly string[];
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  readonly xend: XendClient;
  readonly paths: Paths;
  /** Print on standard output: as it is, without a newline added. */
  out(text: string): void;
  /** Print a line on standard error that is no error of ours: progress, a warning. */
  note(text: string): void;
}

/** The groups of `xm help`, in its order, with their titles (xm-xend 1.2). */
// biome-ignore format: a table
export const GROUPS = {
  general:  '',
  console:  'Commands related to consoles:',
  domain:   'Commands on domains:',
  node:     'Commands related to the xen host (node):',
} as const;

export interface Command {
  readonly name: string;
  readonly group: keyof typeof GROUPS;
  /** After the name in the usage line. */
  readonly usage: string;
  readonly summary: string;
  /** More help, whole lines. */
  readonly details?: string;
  readonly options?: Readonly<Record<string, Option>>;
  /** How many positional arguments it takes. */
  readonly args: readonly [least: number, most: number];
  /** Said when there are too few arguments. */
  readonly missing?: string;
  /** Returns the exit code; nothing means 0. */
  run(context: Context): Promise<number | undefined> | Promise<void>;
}

export const command = (value: Command): Command => value;

/** A mistake of the caller: printed as `Error: TEXT`, exit code 1. */
export class UserError extends Error {
  override readonly name = 'UserError';
}
