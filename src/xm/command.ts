/**
 * A command is a value: its help, its arguments and options, and what it does. Finding, parsing, printing of errors and exit
 * codes belong to the runner (main.ts, parse.ts); help, completion and docs/xm.md are made from the same values.
 */
import type { ParseArgsOptionDescriptor } from 'node:util';
import type { Paths } from '../host/paths.ts';
import type { XendClient } from '../sdk/client.ts';

export interface Option extends ParseArgsOptionDescriptor {
  readonly help: string;
  /** What stands for the value in the help: a name of PARAMS, so that shells complete it. */
  readonly value?: string;
}

/** `xm` speaks as Xen 2.0's manual shows it, `xl` as today's tool. */
export type Dialect = 'xm' | 'xl';

export interface Context {
  /** The arguments in the order of `params`; what follows `--` comes last, untouched. */
  readonly args: readonly string[];
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  readonly xend: XendClient;
  readonly paths: Paths;
  /** Whose tables to print: by the name that xm was called by, or `--format` where a command has `layouts`. */
  readonly dialect: Dialect;
  /** Print on standard output: as it is, without a newline added. */
  out(text: string): void;
  /** Print a line on standard error that is no error of ours: a warning, what a dialect says there. */
  note(text: string): void;
  /** What is being waited for, in place on a terminal and not at all elsewhere; undefined takes it away. */
  progress(text: string | undefined): void;
  /** What a listing found: as JSON for scripts that asked for it (`json` of the command), otherwise as people read it. */
  show(value: unknown, text: () => string): void;
  /** Colour for the eyes of a person: no change to the text where standard output is no terminal. */
  paint(style: 'bold' | 'dim' | 'red' | 'green' | 'yellow', text: string): string;
}

/** The groups of `xm help`, in its order, with their titles (xm-xend 1.2). */
// biome-ignore format: a table
export const GROUPS = {
  general:   '',
  console:   'Commands related to consoles:',
  domain:    'Commands on domains:',
  node:      'Commands related to the xen host (node):',
  scheduler: 'Commands controlling scheduling:',
  block:     'Commands related to virtual block devices:',
  network:   'Commands related to virtual network interfaces:',
} as const;

export type Completion = 'domain' | 'file' | 'folder' | 'command' | 'shell' | 'variable';
/** Names of arguments and option values that shells can complete, and with what; others are free text. */
// biome-ignore format: a table
export const PARAMS: Readonly<Record<string, Completion>> = {
  DOM:    'domain',
  CONFIG: 'file',
  FILE:   'file',
  SOURCE: 'file',
  TARGET: 'file',
  DIR:    'folder',
  PATH:   'folder',
  CMD:    'command',
  SHELL:  'shell',
  'VAR=VALUE': 'variable',
};

export interface Command {
  readonly name: string;
  /** Other names for the same: those of later tools. */
  readonly aliases?: readonly string[];
  /** The name that took this one's place in later tools: said on standard error in xl's dialect (xm-xend 1.8). */
  readonly successor?: string;
  readonly group: keyof typeof GROUPS;
  readonly summary: string;
  /** More help, whole lines. */
  readonly details?: string;
  /** Arguments as the usage line has them: `DOM`, `[DOM]`, `DOM...`, `[DOM...]`. */
  readonly params?: readonly string[];
  readonly options?: Readonly<Record<string, Option>>;
  /** Options that contradict each other, by their long names. */
  readonly exclusive?: readonly (readonly [string, string])[];
  /** Adds `--json`: the command prints with `show`. */
  readonly json?: true;
  /** Adds `--format xm|xl`: the command's table differs by dialect. */
  readonly layouts?: true;
  /** Everything behind the arguments belongs to somebody else, options and all: `exec DOM COMMAND -x`. */
  readonly passesRest?: true;
  /** Returns the exit code; nothing means 0. */
  run(context: Context): Promise<number | undefined> | Promise<void>;
}

export const command = (value: Command): Command => value;

/** A mistake of the caller: printed as `Error: TEXT`, exit code 1. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/** All options of a command, those that its other fields imply included. */
export function optionsOf(one: Command): Readonly<Record<string, Option>> {
  return {
    ...one.options,
    ...(one.layouts
      ? { format: { type: 'string', value: 'xm|xl', help: "the table of Xen 2.0's xm or of today's xl" } }
      : {}),
    ...(one.json ? { json: { type: 'boolean', help: 'print JSON, for scripts' } } : {}),
  };
}

/** How many arguments `params` allows. */
export function argumentCount({ params = [], passesRest }: Command): { least: number; most: number } {
  const least = params.filter((param) => !param.startsWith('[')).length;
  const endless = passesRest || params.some((param) => param.includes('...'));
  return { least, most: endless ? Number.POSITIVE_INFINITY : params.length };
}
