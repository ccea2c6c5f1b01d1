/** The rows of the table: which program with how much work, in which group; and what each group has to reach. */

export type Group = 'integer' | 'float' | 'kernel' | 'whole' | 'boot';

export const GROUPS: readonly Group[] = ['integer', 'float', 'kernel', 'whole', 'boot'];

export interface Program {
  readonly id: string;
  readonly group: Group;
  readonly what: string;
  /** Program and arguments. A name without a slash is one of ours, built from `programs/`; a path is one of Debian's. */
  readonly command: readonly string[];
  /** Standard input, in the tree of the disk. */
  readonly input: string;
}

export const TEXT = '/bench/text';
const own = (id: string, group: Group, work: number, what: string): Program => ({
  id,
  group,
  what,
  command: [id, String(work)],
  input: '/dev/null',
});
const debian = (id: string, command: string, input: string, what: string): Program => ({
  id,
  group: 'whole',
  what,
  command: command.split(' '),
  input,
});

// Work for half a second at least in QEMU's TCG and in a domain, so that most of it is done by translated code in both; where one of
// the subjects needs very much longer than the others (rep movsb in TCG, getppid in UML) there is less.
// biome-ignore format: a table
export const PROGRAMS: readonly Program[] = [
  own('alu',       'integer', 80_000_000, 'register arithmetic'),
  own('sieve',     'integer',         20, 'sieve of Eratosthenes'),
  own('chase',     'integer', 10_000_000, 'pointer chase through 1 MiB'),
  own('copy',      'integer',        450, 'memory copy by words'),
  own('rep-movsb', 'integer',        200, 'memory copy by rep movsb'),
  own('fib',       'integer',         36, 'call and return, recursive'),
  own('indirect',  'integer',       4000, 'indirect calls'),
  own('sha256',    'integer',        400, 'SHA-256'),
  own('mix',       'integer',       8000, 'list, matrix, scanner, CRC'),
  own('scalar',    'float',           25, 'Mandelbrot, scalar double'),
  own('packed',    'float',       45_000, 'daxpy, packed double'),
  own('matmul',    'float',           40, 'matrix product, double'),
  own('getppid',   'kernel',     400_000, 'getppid'),
  own('ping-pong', 'kernel',       8_000, 'pipe ping-pong'),
  own('fork',      'kernel',         500, 'fork, exit, wait'),
  own('faults',    'kernel',           8, 'page faults'),
  own('switches',  'kernel',        1200, 'context switches'),
  debian('gzip',    '/usr/bin/gzip -nc',                          TEXT,                'gzip of 4 MB'),
  debian('xz',      '/usr/bin/xz -c -T1 -1',                      TEXT,                'xz -1 of 4 MB'),
  debian('sqlite3', '/usr/bin/sqlite3 :memory:',                  '/bench/script.sql', 'sqlite3, a script'),
  debian('python3', '/usr/bin/python3 -I -S /bench/script.py 3',  TEXT,                'python3, a script'),
];
