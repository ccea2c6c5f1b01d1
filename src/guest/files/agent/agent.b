// The agent: runs commands in a guest for those outside, on a PV channel (`agent /dev/hvc1`) or on standard input and output
// (`agent -`). The language is of src/guest/agent/syntax.ts, the frames are of src/monitor/agent/frames.ts.
//
// One loop around poll(2). A session is one command: its process, its three pipes or its terminal. Whoever sends bytes has
// been told how many the other side has room for (CREDIT), so nobody waits for a session that stands still, and what the
// channel brings always has a place. No timers: an idle agent sleeps in poll.

// Frames: mark, type, session (2), length (2), check (2), payload.
const MARK = 0xd5;
const CHECK = 0x5aa5;
const HEAD = 8;
const LENGTH_MAX = 0xffff;
const PIECE = 4080; // Of output: with its head, not more than a page.

const EXEC = 1;      // to us: terminal, 0, columns (2), rows (2), arguments (2), variables (2), then texts: folder, arguments, variables
const DATA_IN = 2;   // to us: bytes for its standard input
const END_IN = 3;    // to us: that was all
const SIGNAL = 4;    // to us: number
const SIZE = 5;      // to us: columns (2), rows (2); of session 0: of the console
const CREDIT = 6;    // both ways: bytes (4)
const CLOSE = 7;     // to us: nobody cares for this session any more
const RESET = 8;     // to us: nobody cares for any session; answer HELLO
const HELLO = 16;    // from us: version, sessions at most, bytes of input that each takes unasked (4)
const OUT = 17;      // from us: bytes of its standard output
const ERR = 18;      // from us: of its standard error
const EXIT = 19;     // from us: code, or 0 and the signal
const VERSION = 1;

const SESSIONS = 32;
const INPUT = 16384;
const STRINGS_MAX = 1024;

// Of a session.
const ID = 0;        // 0: free
const PID = 8;       // 0: ended
const IN = 16;       // what we write its standard input to, -1: closed
const OUTPUT = 24;   // what we read its standard output from, -1: at its end
const ERRORS = 32;
const TTY = 40;
const CREDITS = 48;  // bytes of output that may be sent
const START = 56;    // of the input that it has not taken
const WAITING = 64;  // how many bytes that is
const LAST = 72;     // no more input will come
const STATUS = 80;
const BUFFER = 88;
const SIZEOF = 96;

bytes sessions[SESSIONS * SIZEOF];
bytes inputs[SESSIONS * INPUT];
bytes polls[8 * (2 + 3 * SESSIONS)];
bytes frames[HEAD + LENGTH_MAX + 4096];
bytes piece[HEAD + PIECE];
bytes scratch[256];
bytes strings[8 * (STRINGS_MAX + 2)];
var filled;          // bytes in `frames`
var from;            // the channel
var to;
var children;        // a signalfd

const READ = 0; const WRITE = 1; const OPEN = 2; const CLOSE_FD = 3; const POLL = 7; const SIGACTION = 13; const SIGPROCMASK = 14;
const IOCTL = 16; const PAUSE = 34; const DUP2 = 33; const FORK = 57; const EXECVE = 59; const EXIT_GROUP = 231; const WAIT4 = 61;
const SOCKET = 41; const BIND = 49; const KILL = 62; const FCNTL = 72; const CHDIR = 80; const SETSID = 112; const SIGNALFD4 = 289; const PIPE2 = 293;

const O_RDWR = 2; const O_NOCTTY = 0x100; const O_NONBLOCK = 0x800; const O_CLOEXEC = 0x80000;
const AF_NETLINK = 16; const SOCK_DGRAM = 2; const NETLINK_KOBJECT_UEVENT = 15;
const POLLIN = 1; const POLLOUT = 4;
const ESRCH = -3; const EINTR = -4; const EAGAIN = -11; const ENOENT = -2; const ENOBUFS = -105; const ENOTDIR = -20;
const SIGHUP = 1; const SIGKILL = 9; const SIGPIPE = 13; const SIGCHLD = 17;
const TCGETS = 0x5401; const TCSETSF = 0x5404; const TIOCSCTTY = 0x540e; const TIOCSWINSZ = 0x5414; const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441; const F_SETFL = 4;

fn length(text) { let n = 0; while (byte[text + n]) n = n + 1; return n; }

fn close(fd) { if (fd >= 0) syscall(CLOSE_FD, fd); return -1; }

fn writeAll(fd, data, size) {
  while (size > 0) {
    let done = syscall(WRITE, fd, data, size);
    if (done == EINTR) continue;
    if (done <= 0) return 0;
    data = data + done;
    size = size - done;
  }
  return 1;
}

// `frame` has HEAD bytes of room before its payload. A channel that is gone ends us: init starts another.
fn send(type, session, frame, size) {
  byte[frame] = MARK;
  byte[frame + 1] = type;
  half[frame + 2] = session;
  half[frame + 4] = size;
  half[frame + 6] = (type + session + size) ^ CHECK;
  if (!writeAll(to, frame, HEAD + size)) syscall(EXIT_GROUP, 1);
}

fn hello() {
  byte[scratch + HEAD] = VERSION;
  byte[scratch + HEAD + 1] = SESSIONS;
  int[scratch + HEAD + 2] = INPUT;
  send(HELLO, 0, scratch, 6);
}

fn credit(session, size) {
  int[scratch + HEAD] = size;
  send(CREDIT, word[session + ID], scratch, 4);
}

fn setSize(fd, columns, rows) {
  half[scratch] = rows;
  half[scratch + 2] = columns;
  int[scratch + 4] = 0;
  syscall(IOCTL, fd, TIOCSWINSZ, scratch);
}

fn find(id) {
  let session = sessions;
  while (session < sessions + SESSIONS * SIZEOF) {
    if (word[session + ID] == id) return session;
    session = session + SIZEOF;
  }
  return 0;
}

fn freeSession(session) {
  if (word[session + OUTPUT] != word[session + IN]) close(word[session + OUTPUT]);
  close(word[session + IN]);
  close(word[session + ERRORS]);
  word[session + ID] = 0;
}

fn endSession(session) {
  byte[scratch + HEAD] = (word[session + STATUS] >> 8) & 0xff;
  byte[scratch + HEAD + 1] = word[session + STATUS] & 0x7f;
  send(EXIT, word[session + ID], scratch, 2);
  freeSession(session);
}

fn closeInput(session) {
  // A terminal is one thing for both ways: it has a character for the end.
  if (!word[session + TTY]) word[session + IN] = close(word[session + IN]);
  word[session + WAITING] = 0;
}

// Give a command what it takes of its input now.
fn feed(session) {
  while (word[session + WAITING] > 0 && word[session + IN] >= 0) {
    let start = word[session + START];
    let size = word[session + WAITING];
    if (start + size > INPUT) size = INPUT - start;
    let done = syscall(WRITE, word[session + IN], word[session + BUFFER] + start, size);
    if (done == EINTR) continue;
    if (done == EAGAIN) return 0;
    if (done <= 0) {
      // It has closed its input: whatever comes goes nowhere, and is always taken.
      done = word[session + WAITING];
      closeInput(session);
      credit(session, done);
      return 0;
    }
    word[session + START] = (start + done) % INPUT;
    word[session + WAITING] = word[session + WAITING] - done;
    credit(session, done);
  }
  if (word[session + LAST] && word[session + WAITING] == 0) closeInput(session);
}

fn takeInput(session, data, size) {
  if (word[session + IN] < 0) return credit(session, size);
  // More than it was allowed to send: not one of ours.
  if (word[session + WAITING] + size > INPUT) return abandon(session);
  let end = (word[session + START] + word[session + WAITING]) % INPUT;
  let first = size;
  if (end + first > INPUT) first = INPUT - end;
  copy(word[session + BUFFER] + end, data, first);
  copy(word[session + BUFFER], data + first, size - first);
  word[session + WAITING] = word[session + WAITING] + size;
  feed(session);
}

// Send some output. Returns the descriptor, or -1 at its end.
fn drain(session, fd, type) {
  let size = word[session + CREDITS];
  if (size > PIECE) size = PIECE;
  let got = syscall(READ, fd, piece + HEAD, size);
  if (got == EINTR || got == EAGAIN) return fd;
  if (got <= 0) {
    if (fd != word[session + IN]) close(fd);
    return -1;
  }
  send(type, word[session + ID], piece, got);
  word[session + CREDITS] = word[session + CREDITS] - got;
  return fd;
}

fn complain(text, why) {
  writeAll(2, text, length(text));
  writeAll(2, why, length(why));
}

fn variable(environment, name) {
  while (word[environment]) {
    let text = word[environment];
    let n = length(name);
    let i = 0;
    while (i < n && byte[text + i] == byte[name + i]) i = i + 1;
    if (i == n) return text + n;
    environment = environment + 8;
  }
  return "";
}

// Become the command, which is looked for as a shell would. Returns only when that cannot be. Its texts are in `frames`; the
// inputs of all sessions are nothing that a child needs.
fn become(arguments, environment) {
  let name = word[arguments];
  let slash = 0;
  let i = 0;
  while (byte[name + i]) { if (byte[name + i] == '/') slash = 1; i = i + 1; }
  if (slash) return syscall(EXECVE, name, arguments, environment);
  let folder = variable(environment, "PATH=");
  let why = ENOENT;
  while (1) {
    let n = 0;
    while (byte[folder + n] && byte[folder + n] != ':') n = n + 1;
    if (n + length(name) + 2 < LENGTH_MAX && n > 0) {
      copy(inputs, folder, n);
      byte[inputs + n] = '/';
      copy(inputs + n + 1, name, length(name) + 1);
      let error = syscall(EXECVE, inputs, arguments, environment);
      if (error != ENOENT && error != ENOTDIR) why = error;
    }
    if (byte[folder + n] == 0) return why;
    folder = folder + n + 1;
  }
}

fn child(standardIn, standardOut, standardErr, terminal, folder, arguments, environment) {
  word[scratch] = 0;
  syscall(SIGPROCMASK, 2, scratch, 0, 8);
  word[scratch + 8] = 0;
  word[scratch + 16] = 0;
  word[scratch + 24] = 0;
  syscall(SIGACTION, SIGPIPE, scratch, 0, 8);
  syscall(SETSID);
  if (terminal) syscall(IOCTL, standardIn, TIOCSCTTY, 0);
  syscall(DUP2, standardIn, 0);
  syscall(DUP2, standardOut, 1);
  syscall(DUP2, standardErr, 2);
  if (syscall(CHDIR, folder) < 0) {
    complain(folder, ": no such folder\n");
    syscall(EXIT_GROUP, 126);
  }
  let why = become(arguments, environment);
  if (why == ENOENT || why == ENOTDIR) {
    complain(word[arguments], ": not found\n");
    syscall(EXIT_GROUP, 127);
  }
  complain(word[arguments], ": cannot be run\n");
  syscall(EXIT_GROUP, 126);
}

fn refuse(id, code) {
  byte[scratch + HEAD] = code;
  byte[scratch + HEAD + 1] = 0;
  send(EXIT, id, scratch, 2);
}

// The texts of EXEC as two lists that end with 0, one behind the other. Returns where the environment begins, or 0.
fn list(texts, end, arguments, variables) {
  let n = 0;
  if (arguments + variables > STRINGS_MAX || arguments < 1) return 0;
  let at = strings;
  while (n < arguments + variables) {
    if (n == arguments) { word[at] = 0; at = at + 8; }
    if (texts >= end) return 0;
    word[at] = texts;
    at = at + 8;
    while (texts < end && byte[texts]) texts = texts + 1;
    if (texts >= end) return 0;
    texts = texts + 1;
    n = n + 1;
  }
  if (variables == 0) { word[at] = 0; at = at + 8; }
  word[at] = 0;
  return strings + 8 * (arguments + 1);
}

bytes ends[24];

fn pipe(at) { return syscall(PIPE2, at, O_CLOEXEC) >= 0; }

fn exec(id, payload, size) {
  let session = find(0);
  if (id == 0 || find(id) || !session || size < 12) return refuse(id, 125);
  let terminal = byte[payload];
  let folder = payload + 10;
  let texts = folder;
  while (texts < payload + size && byte[texts]) texts = texts + 1;
  let environment = list(texts + 1, payload + size, half[payload + 6], half[payload + 8]);
  if (!environment) return refuse(id, 125);
  let pid = -1;
  if (terminal) {
    let master = syscall(OPEN, "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
    if (master < 0) return refuse(id, 125);
    int[scratch] = 0;
    syscall(IOCTL, master, TIOCSPTLCK, scratch);
    let slave = syscall(IOCTL, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) { close(master); return refuse(id, 125); }
    setSize(master, half[payload + 2], half[payload + 4]);
    pid = syscall(FORK);
    if (pid == 0) child(slave, slave, slave, 1, folder, strings, environment);
    close(slave);
    word[session + IN] = master;
    word[session + OUTPUT] = master;
    word[session + ERRORS] = -1;
    syscall(FCNTL, master, F_SETFL, O_RDWR | O_NONBLOCK);
  } else {
    if (!pipe(ends)) return refuse(id, 125);
    if (!pipe(ends + 8)) { close(int[ends]); close(int[ends + 4]); return refuse(id, 125); }
    if (!pipe(ends + 16)) {
      close(int[ends]); close(int[ends + 4]); close(int[ends + 8]); close(int[ends + 12]);
      return refuse(id, 125);
    }
    pid = syscall(FORK);
    if (pid == 0) child(int[ends], int[ends + 12], int[ends + 20], 0, folder, strings, environment);
    close(int[ends]);
    close(int[ends + 12]);
    close(int[ends + 20]);
    word[session + IN] = int[ends + 4];
    word[session + OUTPUT] = int[ends + 8];
    word[session + ERRORS] = int[ends + 16];
    syscall(FCNTL, int[ends + 4], F_SETFL, O_NONBLOCK | 1);
    syscall(FCNTL, int[ends + 8], F_SETFL, O_NONBLOCK);
    syscall(FCNTL, int[ends + 16], F_SETFL, O_NONBLOCK);
  }
  word[session + ID] = id;
  word[session + PID] = pid;
  word[session + TTY] = terminal;
  word[session + CREDITS] = 0;
  word[session + START] = 0;
  word[session + WAITING] = 0;
  word[session + LAST] = 0;
  word[session + STATUS] = 125 << 8;
  word[session + BUFFER] = inputs + (session - sessions) / SIZEOF * INPUT;
  if (pid < 0) word[session + PID] = 0;
}

// To the command and its children. One that has only just begun leads no group yet, and has no children.
fn signal(session, number) {
  let pid = word[session + PID];
  if (pid > 0 && syscall(KILL, -pid, number) == ESRCH) syscall(KILL, pid, number);
}

fn abandon(session) {
  signal(session, SIGHUP);
  freeSession(session);
}

fn resizeConsole(columns, rows) {
  let fd = syscall(OPEN, "/dev/hvc0", O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  setSize(fd, columns, rows);
  close(fd);
}

fn handle(type, id, payload, size) {
  if (type == EXEC) return exec(id, payload, size);
  if (type == RESET) {
    let each = sessions;
    while (each < sessions + SESSIONS * SIZEOF) {
      if (word[each + ID]) abandon(each);
      each = each + SIZEOF;
    }
    return hello();
  }
  if (type == SIZE && id == 0 && size == 4) return resizeConsole(half[payload], half[payload + 2]);
  let session = find(id);
  if (id == 0 || !session) return 0; // It has ended meanwhile.
  if (type == DATA_IN) takeInput(session, payload, size);
  else if (type == END_IN) {
    word[session + LAST] = 1;
    if (word[session + WAITING] == 0) closeInput(session);
  } else if (type == SIGNAL && size == 1) signal(session, byte[payload]);
  else if (type == SIZE && size == 4) {
    if (word[session + TTY]) setSize(word[session + IN], half[payload], half[payload + 2]);
  } else if (type == CREDIT && size == 4) word[session + CREDITS] = word[session + CREDITS] + (int[payload] & 0x7fffffff);
  else if (type == CLOSE) abandon(session);
}

// What has come on the channel. A head that is none is passed over, byte for byte, until there is one.
fn receive() {
  let got = syscall(READ, from, frames + filled, HEAD + LENGTH_MAX + 4096 - filled);
  if (got == EINTR || got == EAGAIN) return 0;
  if (got <= 0) syscall(EXIT_GROUP, 1);
  filled = filled + got;
  let at = frames;
  let end = frames + filled;
  while (at + HEAD <= end) {
    let type = byte[at + 1];
    let id = half[at + 2];
    let size = half[at + 4];
    if (byte[at] != MARK || half[at + 6] != (((type + id + size) ^ CHECK) & 0xffff)) {
      at = at + 1;
      continue;
    }
    if (at + HEAD + size > end) break;
    handle(type, id, at + HEAD, size);
    at = at + HEAD + size;
  }
  filled = end - at;
  copy(frames, at, filled);
}

// Who has ended.
fn reap() {
  syscall(READ, children, scratch, 128);
  while (1) {
    let pid = syscall(WAIT4, -1, scratch, 1, 0);
    if (pid <= 0) return 0;
    let session = sessions;
    while (session < sessions + SESSIONS * SIZEOF) {
      if (word[session + ID] && word[session + PID] == pid) {
        word[session + PID] = 0;
        word[session + STATUS] = int[scratch];
      }
      session = session + SIZEOF;
    }
  }
}

fn watch(at, fd, events) {
  int[at] = fd;
  half[at + 4] = events;
  half[at + 6] = 0;
  return at + 8;
}

fn ready(at) { return half[at + 6] != 0; }

// What a command that has ended printed before is sent; what its own children print later is not waited for.
fn finish(session) {
  while (word[session + CREDITS] > 0 && (word[session + OUTPUT] >= 0 || word[session + ERRORS] >= 0)) {
    let before = word[session + CREDITS];
    if (word[session + OUTPUT] >= 0) word[session + OUTPUT] = drain(session, word[session + OUTPUT], OUT);
    if (word[session + ERRORS] >= 0 && word[session + CREDITS] > 0) word[session + ERRORS] = drain(session, word[session + ERRORS], ERR);
    if (word[session + CREDITS] == before) return endSession(session);
  }
  if (word[session + OUTPUT] < 0 && word[session + ERRORS] < 0) endSession(session);
}

fn serve() {
  let at = watch(polls, from, POLLIN);
  at = watch(at, children, POLLIN);
  let session = sessions;
  while (session < sessions + SESSIONS * SIZEOF) {
    if (word[session + ID]) {
      let wants = 0;
      if (word[session + CREDITS] > 0) wants = POLLIN;
      let feeds = 0;
      if (word[session + WAITING] > 0) feeds = POLLOUT;
      let out = word[session + OUTPUT];
      if (!wants) out = -1;
      let errors = word[session + ERRORS];
      if (!wants) errors = -1;
      let in = word[session + IN];
      if (!feeds) in = -1;
      at = watch(at, out, wants);
      at = watch(at, errors, wants);
      at = watch(at, in, feeds);
    }
    session = session + SIZEOF;
  }
  if (syscall(POLL, polls, (at - polls) / 8, -1) <= 0) return 0;
  // Sessions first: the channel may bring others into their places.
  at = polls + 16;
  session = sessions;
  let readable = ready(polls);
  let ended = ready(polls + 8);
  while (session < sessions + SESSIONS * SIZEOF) {
    if (word[session + ID]) {
      if (ready(at) && word[session + CREDITS] > 0) word[session + OUTPUT] = drain(session, word[session + OUTPUT], OUT);
      if (ready(at + 8) && word[session + CREDITS] > 0) word[session + ERRORS] = drain(session, word[session + ERRORS], ERR);
      if (ready(at + 16)) feed(session);
      at = at + 24;
    }
    session = session + SIZEOF;
  }
  if (readable) receive();
  if (ended) reap();
  session = sessions;
  while (session < sessions + SESSIONS * SIZEOF) {
    if (word[session + ID] && word[session + PID] == 0) finish(session);
    session = session + SIZEOF;
  }
}

fn makeRaw(fd) {
  if (syscall(IOCTL, fd, TCGETS, scratch) < 0) return 0;
  int[scratch] = 0;                       // c_iflag
  int[scratch + 4] = 0;                   // c_oflag
  int[scratch + 12] = 0;                  // c_lflag
  byte[scratch + 17 + 5] = 0;             // VTIME
  byte[scratch + 17 + 6] = 1;             // VMIN
  syscall(IOCTL, fd, TCSETSF, scratch);
}

// The channel may be plugged in after we are started: whenever the kernel tells of a change to its devices, we look again.
fn openChannel(path) {
  let events = syscall(SOCKET, AF_NETLINK, SOCK_DGRAM | O_CLOEXEC, NETLINK_KOBJECT_UEVENT);
  word[scratch] = AF_NETLINK;
  word[scratch + 8] = 1;                  // The kernel's own messages.
  syscall(BIND, events, scratch, 12);
  while (1) {
    let fd = syscall(OPEN, path, O_RDWR | O_NOCTTY | O_CLOEXEC, 0);
    if (fd >= 0) { close(events); return fd; }
    let told = syscall(READ, events, frames, 4096);
    while (told < 0 && told != EINTR && told != ENOBUFS) syscall(PAUSE); // No such messages here.
  }
}

fn main(stack) {
  let path = "/dev/hvc1";
  if (word[stack] > 1) path = word[stack + 16];
  from = 0;
  to = 1;
  if (byte[path] != '-') {
    from = openChannel(path);
    to = from;
    makeRaw(from);
  }
  word[scratch] = 1;                      // SIG_IGN
  word[scratch + 8] = 0;
  word[scratch + 16] = 0;
  word[scratch + 24] = 0;
  syscall(SIGACTION, SIGPIPE, scratch, 0, 8);
  word[scratch] = 1 << (SIGCHLD - 1);
  syscall(SIGPROCMASK, 0, scratch, 0, 8);
  children = syscall(SIGNALFD4, -1, scratch, 8, O_NONBLOCK | O_CLOEXEC);
  hello();
  while (1) serve();
}
