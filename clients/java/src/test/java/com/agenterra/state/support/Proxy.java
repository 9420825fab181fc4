package com.agenterra.state.support;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** A TCP proxy before the service that loses connections and answers when it is told to. */
public final class Proxy implements AutoCloseable {
  private final ServerSocket server;
  private final int port;
  private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
  private final AtomicInteger connections = new AtomicInteger();
  private final AtomicInteger answersToLose = new AtomicInteger();
  private volatile boolean isBlackHole;

  public Proxy(int port) {
    this.port = port;
    try {
      server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    inBackground(this::accept);
  }

  public String url() {
    return "http://127.0.0.1:" + server.getLocalPort();
  }

  /** How many connections were made. */
  public int connections() {
    return connections.get();
  }

  /** Cuts the connection in place of passing an answer on, so often. */
  public void loseAnswers(int times) {
    answersToLose.set(times);
  }

  /** Takes in what is sent, and passes nothing on. */
  public void swallow(boolean isBlackHole) {
    this.isBlackHole = isBlackHole;
  }

  /** Ends all connections, as a network does: by a reset. */
  public void cut() {
    sockets.forEach(Proxy::reset);
  }

  @Override
  public void close() {
    try {
      server.close();
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    cut();
  }

  private void accept() throws IOException {
    while (true) {
      Socket client = server.accept();
      connections.incrementAndGet();
      Socket upstream = new Socket(InetAddress.getLoopbackAddress(), port);
      sockets.add(client);
      sockets.add(upstream);
      inBackground(() -> pass(client, upstream, false));
      inBackground(() -> pass(upstream, client, true));
    }
  }

  private void pass(Socket from, Socket to, boolean areAnswers) throws IOException {
    try {
      InputStream source = from.getInputStream();
      OutputStream target = to.getOutputStream();
      byte[] bytes = new byte[65_536];
      for (int count = source.read(bytes); count >= 0; count = source.read(bytes)) {
        if (isBlackHole) {
          continue;
        }
        if (areAnswers && hasHeaders(bytes, count)) {
          if (answersToLose.getAndUpdate(left -> Math.max(left - 1, 0)) > 0) {
            break;
          }
        }
        target.write(bytes, 0, count);
      }
    } finally {
      for (Socket socket : new Socket[] {from, to}) {
        sockets.remove(socket);
        reset(socket);
      }
    }
  }

  /** Whether HTTP/2 bytes, which begin with a frame, have a HEADERS frame among them. */
  private static boolean hasHeaders(byte[] bytes, int count) {
    int at = 0;
    while (at + 9 <= count) {
      if (bytes[at + 3] == 1) {
        return true;
      }
      at += 9 + ((bytes[at] & 255) << 16 | (bytes[at + 1] & 255) << 8 | bytes[at + 2] & 255);
    }
    return false;
  }

  private static void reset(Socket socket) {
    try {
      socket.setSoLinger(true, 0);
      socket.close();
    } catch (IOException closed) {
      // It is what was wanted.
      return;
    }
  }

  private interface Work {
    void run() throws IOException;
  }

  private static void inBackground(Work work) {
    Thread thread =
        new Thread(
            () -> {
              try {
                work.run();
              } catch (IOException closed) {
                // The end of a connection, or of the proxy.
                return;
              }
            });
    thread.setDaemon(true);
    thread.start();
  }
}
