package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"hirewire.dev/platform/groupcommit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	config    = groupcommit.Config[int, int]
	committer = groupcommit.Committer[int, int]
	result    = groupcommit.Result[int]
)

// double answers each item with its double.
func double(_ context.Context, batch []int) []result {
	out := make([]result, len(batch))
	for i, n := range batch {
		out[i].Out = 2 * n
	}
	return out
}

// run runs a committer until the test ends and returns what ends it earlier.
func run(tb testing.TB, cfg config) (*committer, func()) {
	tb.Helper()
	c := groupcommit.New(cfg)
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				tb.Errorf("Run: %v", err)
			}
		})
	}
	tb.Cleanup(stop)
	return c, stop
}

func TestEachCallerGetsItsOwnResult(t *testing.T) {
	for _, committers := range []int{1, 3} {
		var batches atomic.Int64
		c, _ := run(t, config{Commit: double, MaxBatch: 16, Committers: committers, Block: true, Observe: func(int, time.Duration) { batches.Add(1) }})
		var wg sync.WaitGroup
		for w := range 32 {
			wg.Go(func() {
				for i := range 200 {
					in := w*1000 + i
					if out, err := c.Do(t.Context(), in); err != nil || out != 2*in {
						t.Errorf("Do(%d) = %d, %v", in, out, err)
					}
				}
			})
		}
		wg.Wait()
		if n := batches.Load(); n >= 32*200 {
			t.Errorf("%d batches: nothing was shared", n)
		}
	}
}

// The next batch gathers while the last one commits, and a lone caller waits
// for nobody.
func TestBatchesGatherWhileOneCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		c, stop := run(t, config{
			MaxBatch: 4,
			Commit: func(ctx context.Context, batch []int) []result {
				sizes = append(sizes, len(batch))
				time.Sleep(time.Second)
				return double(ctx, batch)
			},
		})
		var wg sync.WaitGroup
		do := func(n int) {
			wg.Go(func() {
				if out, err := c.Do(t.Context(), n); err != nil || out != 2*n {
					t.Errorf("Do(%d) = %d, %v", n, out, err)
				}
			})
			synctest.Wait()
		}
		started := time.Now()
		for n := range 8 {
			do(n)
		}
		wg.Wait()
		if d := time.Since(started); d != 3*time.Second {
			t.Errorf("took %v, want 3 commits of 1 s", d)
		}
		stop()
		if diff := cmp.Diff([]int{1, 4, 3}, sizes); diff != "" {
			t.Error(diff)
		}
	})
}

func TestOneCommitterKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		c, stop := run(t, config{MaxBatch: 3, Commit: func(ctx context.Context, batch []int) []result {
			got = append(got, batch...)
			time.Sleep(time.Second)
			return double(ctx, batch)
		}})
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() { _, _ = c.Do(t.Context(), n) })
			synctest.Wait()
		}
		wg.Wait()
		stop()
		if !slices.IsSorted(got) || len(got) != 20 {
			t.Errorf("order %v", got)
		}
	})
}

func TestFullQueue(t *testing.T) {
	for _, block := range []bool{false, true} {
		t.Run(fmt.Sprintf("block=%v", block), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := run(t, config{MaxBatch: 1, MaxQueue: 2, Block: block, Commit: func(ctx context.Context, batch []int) []result {
					time.Sleep(time.Second)
					return double(ctx, batch)
				}})
				var wg sync.WaitGroup
				for n := range 3 { // one commits, two wait
					wg.Go(func() {
						if _, err := c.Do(t.Context(), n); err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				started := time.Now()
				_, err := c.Do(ctx, 3)
				waited := time.Since(started)
				if !block && (!errors.Is(err, groupcommit.ErrBusy) || waited != 0) {
					t.Errorf("%v after %v", err, waited)
				}
				if block && (!errors.Is(err, context.DeadlineExceeded) || waited != 100*time.Millisecond) {
					t.Errorf("%v after %v", err, waited)
				}
				if block {
					if _, err := c.Do(t.Context(), 4); err != nil {
						t.Errorf("with room again: %v", err)
					}
				}
				wg.Wait()
			})
		})
	}
}

func TestCallerThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int
		c, stop := run(t, config{Commit: func(ctx context.Context, batch []int) []result {
			if ctx.Err() != nil {
				t.Error("the caller's context reached the commit")
			}
			got = append(got, batch...)
			time.Sleep(time.Second)
			return double(ctx, batch)
		}})
		var wg sync.WaitGroup
		do := func(n int, patience time.Duration, want error) {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				started := time.Now()
				if _, err := c.Do(ctx, n); !errors.Is(err, want) {
					t.Errorf("Do(%d): %v, want %v", n, err, want)
				}
				if d := time.Since(started); d > patience {
					t.Errorf("Do(%d) took %v", n, d)
				}
			})
			synctest.Wait()
		}
		do(1, 500*time.Millisecond, context.DeadlineExceeded) // in the batch under way: committed all the same
		do(2, 500*time.Millisecond, context.DeadlineExceeded) // still queued: never committed
		do(3, 5*time.Second, nil)
		wg.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Do(ctx, 4); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		stop()
		if diff := cmp.Diff([]int{1, 3}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRunCommitsWhatIsQueuedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, stop := run(t, config{MaxBatch: 2, MaxQueue: 4, Block: true, Commit: func(ctx context.Context, batch []int) []result {
			time.Sleep(time.Second)
			if ctx.Err() != nil {
				t.Error("the commit was cancelled")
			}
			return double(ctx, batch)
		}})
		var done, refused atomic.Int64
		var wg sync.WaitGroup
		for n := range 8 { // 1 commits, 4 wait in the queue, 3 wait for room
			wg.Go(func() {
				switch _, err := c.Do(t.Context(), n); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, groupcommit.ErrStopped):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		stop()
		wg.Wait()
		if done.Load() != 5 || refused.Load() != 3 {
			t.Errorf("%d done, %d refused, want 5 and 3", done.Load(), refused.Load())
		}
		if _, err := c.Do(t.Context(), 9); !errors.Is(err, groupcommit.ErrStopped) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestDoBeforeRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := groupcommit.New(config{Commit: double})
		got := make(chan int, 1)
		go func() {
			out, _ := c.Do(t.Context(), 21)
			got <- out
		}()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = c.Run(ctx) }()
		if out := <-got; out != 42 {
			t.Errorf("got %d", out)
		}
		cancel()
	})
}

func TestFailuresStayInTheirBatch(t *testing.T) {
	errBad := errors.New("bad item")
	c, _ := run(t, config{Timeout: 50 * time.Millisecond, Commit: func(ctx context.Context, batch []int) []result {
		out := double(ctx, batch)
		for i, n := range batch {
			switch n {
			case 1:
				out[i] = result{Err: errBad}
			case 2:
				panic("boom")
			case 3:
				return nil
			case 4:
				<-ctx.Done()
				out[i] = result{Err: ctx.Err()}
			}
		}
		return out
	}})
	if _, err := c.Do(t.Context(), 1); !errors.Is(err, errBad) {
		t.Errorf("item's error: %v", err)
	}
	_, err := c.Do(t.Context(), 2)
	if e, ok := errors.AsType[*groupcommit.PanicError](err); !ok || e.Value != "boom" || len(e.Stack) == 0 {
		t.Errorf("panic: %v", err)
	}
	if _, err := c.Do(t.Context(), 3); err == nil {
		t.Error("missing results went unnoticed")
	}
	if _, err := c.Do(t.Context(), 4); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging commit: %v", err)
	}
	if out, err := c.Do(t.Context(), 5); err != nil || out != 10 {
		t.Errorf("afterwards: %d, %v", out, err)
	}
}

func TestConcurrentDoAndStop(t *testing.T) {
	for range 200 {
		c, stop := run(t, config{Commit: double, MaxBatch: 2, MaxQueue: 2, Block: true})
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				out, err := c.Do(t.Context(), n)
				if err == nil && out != 2*n || err != nil && !errors.Is(err, groupcommit.ErrStopped) {
					t.Errorf("Do(%d) = %d, %v", n, out, err)
				}
			})
		}
		runtime.Gosched()
		stop()
		wg.Wait()
	}
}

// BenchmarkDo measures the cost of sharing alone: the commit does nothing.
func BenchmarkDo(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			c, _ := run(b, config{Commit: double, Block: true})
			b.ReportAllocs()
			b.SetParallelism(max(callers/runtime.GOMAXPROCS(0), 1))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Do(context.Background(), 1); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkCommit has a commit that takes a while, as an fsync does, and 64
// callers.
func BenchmarkCommit(b *testing.B) {
	var batches atomic.Int64
	c, _ := run(b, config{Block: true, Commit: func(ctx context.Context, batch []int) []result {
		time.Sleep(300 * time.Microsecond)
		return double(ctx, batch)
	}, Observe: func(int, time.Duration) { batches.Add(1) }})
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Do(context.Background(), 1); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/float64(batches.Load()), "items/batch")
}
