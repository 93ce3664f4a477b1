struct Agreeable {
  template <class T>
  bool operator==(const T&) const {
    return true;
  }
};

Agreeable f(int) {
  return {};
}
