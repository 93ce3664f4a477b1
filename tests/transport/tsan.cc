// libzmq is not built for ThreadSanitizer: its lock-free queues look like races. What it reads and writes
// through libc is left out; accesses of our own code are still checked. Without the sanitizer nobody calls
// this.
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libzmq.so\n";
}
