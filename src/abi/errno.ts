/**
 * Error numbers that hypercalls return negated. Xen's numbers are Linux's. Table: public/errno.h.
 */
// biome-ignore format: a table
export const Errno = {
  EPERM: 1,    ENOENT: 2,   ESRCH: 3,    EINTR: 4,       EIO: 5,        ENXIO: 6,   E2BIG: 7,   EBADF: 9,
  EAGAIN: 11,  ENOMEM: 12,  EACCES: 13,  EFAULT: 14,     EBUSY: 16,     EEXIST: 17, EXDEV: 18,  ENODEV: 19,
  EINVAL: 22,  ENOSPC: 28,  EROFS: 30,   ERANGE: 34,     ENOSYS: 38,    ENODATA: 61, ETIME: 62, EOVERFLOW: 75,
  ERESTART: 85, EOPNOTSUPP: 95, ENOBUFS: 105,
} as const;
export type ErrnoName = keyof typeof Errno;
